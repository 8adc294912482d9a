// What the tests of mixtures of experts share: problems, their operands, and what holds on every device.
#pragma once

#include <algorithm>

#include "kernels/moe/moe.h"
#include "tests/op/cuda_op_test.h"

namespace cohort::test::moe {

struct Problem {
  DType dtype;
  int64_t num_tokens;
  int64_t hidden;
  int64_t ffn;
  int64_t num_experts;
  int64_t per_token;
  bool renormalizes = true;
  Activation activation = Activation::kSilu;
  GemmMode mode = GemmMode::kDeterministic;

  MoeShape shape() const { return {hidden, ffn, num_experts, per_token, 0, num_experts}; }
  // Of shard `shard` of num_shards.
  MoeShape shape(int64_t shard, int64_t num_shards) const {
    const int64_t num_local = num_experts / num_shards;
    return {hidden, ffn, num_experts, per_token, shard * num_local, num_local};
  }
};

inline std::string name_of(const Problem& p) {
  return std::string(dtype_name(p.dtype)) + ", " + std::to_string(p.num_tokens) + " tokens, " +
         std::to_string(p.per_token) + " of " + std::to_string(p.num_experts) + " experts, " +
         std::to_string(p.hidden) + " x " + std::to_string(p.ffn);
}

inline Tensor logits_of(const Problem& p, uint32_t seed = 3) {
  Tensor logits(DType::kF32, {p.num_tokens, p.num_experts});
  fill_random(logits, seed, 2);
  return logits;
}

inline Tensor inputs_of(const Problem& p, uint32_t seed = 4) {
  Tensor x(p.dtype, {p.num_tokens, p.hidden});
  fill_random(x, seed);
  return x;
}

// The matrices of an expert, spread so that what they give is about 1.
inline Tensor gate_up_of(const Problem& p, int64_t expert) {
  Tensor weight(p.dtype, {2 * p.ffn, p.hidden});
  fill_random(weight, static_cast<uint32_t>(100 + expert), 1.5 / std::sqrt(static_cast<double>(p.hidden)));
  return weight;
}

inline Tensor down_of(const Problem& p, int64_t expert) {
  Tensor weight(p.dtype, {p.hidden, p.ffn});
  fill_random(weight, static_cast<uint32_t>(1000 + expert), 1.5 / std::sqrt(static_cast<double>(p.ffn)));
  return weight;
}

// One matrix of every local expert, as ExpertWeights has them on the stream's device.
template <typename F>
std::vector<PackedWeight> pack(const Problem& p, const MoeShape& shape, F&& matrix_of, Stream& stream) {
  std::vector<PackedWeight> packed;
  const auto add = [&](const ConstTensorView& weight) {
    packed.push_back(PackedWeight::pack(weight, WeightLayout::kOutIn, p.dtype, 1, p.mode, stream));
  };
  if (stream.device() == kCpuDevice) {
    for (int64_t e = 0; e < shape.num_local_experts; ++e) add(matrix_of(p, shape.first_expert + e));
    return packed;
  }
  const Tensor first = matrix_of(p, 0);
  const Tensor all(p.dtype, {shape.num_local_experts * first->dim(0), first->dim(1)});
  for (int64_t e = 0; e < shape.num_local_experts; ++e) {
    const Tensor matrix = matrix_of(p, shape.first_expert + e);
    std::memcpy(static_cast<char*>(all->data()) + e * matrix->num_bytes(), matrix->data(),
                static_cast<size_t>(matrix->num_bytes()));
  }
  add(all);
  return packed;
}

inline ExpertWeights experts_of(const Problem& p, const MoeShape& shape, Stream& stream) {
  return {shape, p.activation, pack(p, shape, gate_up_of, stream), pack(p, shape, down_of, stream)};
}

// Everything that an op may leave as it is, as NaN.
inline MoeWorkspace workspace_of(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device) {
  MoeWorkspace workspace(shape, dtype, max_tokens, device);
  for (const Tensor* tensor :
       {&workspace.experts, &workspace.weights, &workspace.rows, &workspace.tokens, &workspace.first_rows,
        &workspace.inputs, &workspace.gate_up, &workspace.activated, &workspace.outputs}) {
    const std::vector<char> poisoned(static_cast<size_t>((*tensor)->num_bytes()), '\xff');
    copy_bytes((*tensor)->data(), device, poisoned.data(), kCpuDevice, (*tensor)->num_bytes());
  }
  return workspace;
}

// The bytes of the rows of the output.
inline std::vector<char> run(const Problem& p, const ExpertWeights& experts, const Tensor& x, const Tensor& logits,
                             DType out_dtype, Stream& stream) {
  const int64_t num_tokens = x->dim(0);
  const Layout layout{num_tokens, p.hidden, 0, 8};
  MoeWorkspace workspace = workspace_of(experts.shape, p.dtype, num_tokens + 3, stream.device());
  const Operand out(poison(out_dtype, layout), out_dtype, layout, stream.device());
  route(workspace, on_device(logits, stream.device()), experts.shape, p.renormalizes, stream);
  expert_mlp(out.view(), on_device(x, stream.device()), experts, workspace, stream);
  stream.synchronize();
  const std::vector<char> all = out.bytes();
  std::vector<char> rows;
  for (int64_t i = 0; i < num_tokens; ++i) {
    const std::string row = row_of(all, out_dtype, layout, i);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

inline std::vector<char> run(const Problem& p, Stream& stream) {
  return run(p, experts_of(p, p.shape(), stream), inputs_of(p), logits_of(p), p.dtype, stream);
}

// Shapes that hurt.
inline std::vector<Problem> problems(DType dtype) {
  return {
      {dtype, 1, 8, 8, 2, 1},           {dtype, 1, 64, 48, 8, 2},
      {dtype, 7, 32, 40, 8, 2},         {dtype, 33, 24, 37, 8, 2, true, Activation::kRelu},
      {dtype, 70, 48, 24, 4, 2, false}, {dtype, 9, 37, 19, 12, 5, false},
      {dtype, 20, 16, 8, 60, 4},        {dtype, 5, 16, 8, 3, 3},
      {dtype, 40, 136, 72, 16, 8},      {dtype, 3, 40, 16, 512, 16, false},
  };
}

// Of sums of float32, and of 16 bits of elements between them that were rounded the other way.
inline double tolerance_of(DType dtype) { return dtype == DType::kF32 ? 2e-5 : 6 * rounding_of(dtype); }

// Pairs of local experts have one row each, ordered by expert and token.
inline void expect_grouped(const MoeWorkspace& workspace, int64_t num_tokens, const MoeShape& shape) {
  const std::vector<int32_t> experts = int32_values_of(workspace.experts);
  const std::vector<int32_t> rows = int32_values_of(workspace.rows);
  const std::vector<int32_t> tokens = int32_values_of(workspace.tokens);
  const std::vector<int32_t> first_rows = int32_values_of(workspace.first_rows);
  int32_t row = 0;
  for (int64_t e = 0; e < shape.num_local_experts; ++e) {
    EXPECT_EQ(first_rows[static_cast<size_t>(e)], row);
    for (int64_t pair = 0; pair < num_tokens * shape.experts_per_token; ++pair) {
      if (experts[static_cast<size_t>(pair)] != shape.first_expert + e) continue;
      EXPECT_EQ(rows[static_cast<size_t>(pair)], row);
      EXPECT_EQ(tokens[static_cast<size_t>(row++)], pair / shape.experts_per_token);
    }
  }
  EXPECT_EQ(first_rows.back(), row);
  EXPECT_EQ(std::count_if(rows.begin(), rows.begin() + num_tokens * shape.experts_per_token,
                          [](int32_t place) { return place >= 0; }),
            row);
}

// Equal logits, infinite ones and NaN, on any device.
inline void expect_edges(Stream& stream) {
  const Problem p{DType::kF32, 4, 8, 8, 4, 2};
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {1,         1,   1,         1,   //
                                     nan,       0,   nan,       -1,  //
                                     -infinity, 3,   -infinity, 3,   //
                                     nan,       nan, nan,       nan};
  Tensor logits(DType::kF32, {4, 4});
  std::memcpy(logits->data(), values.data(), values.size() * sizeof(float));
  MoeWorkspace workspace = workspace_of(p.shape(), p.dtype, 4, stream.device());
  route(workspace, on_device(logits, stream.device()), p.shape(), true, stream);
  stream.synchronize();
  EXPECT_EQ(int32_values_of(workspace.experts), (std::vector<int32_t>{0, 1, 1, 3, 1, 3, 0, 1}));
  expect_grouped(workspace, 4, p.shape());
}

inline Tensor rows_of(const ConstTensorView& x, int64_t begin, int64_t end) {
  Tensor rows(x.dtype(), {end - begin, x.dim(1)});
  const int64_t row_bytes = dtype_bytes(x.dtype(), x.dim(1));
  std::memcpy(rows->data(), static_cast<const char*>(x.data()) + begin * row_bytes,
              static_cast<size_t>((end - begin) * row_bytes));
  return rows;
}

inline void expect_bits_of_a_token_alone(const Problem& p, Stream& stream) {
  SCOPED_TRACE(name_of(p));
  const ExpertWeights experts = experts_of(p, p.shape(), stream);
  const Tensor x = inputs_of(p);
  const Tensor logits = logits_of(p);
  const std::vector<char> all = run(p, experts, x, logits, p.dtype, stream);
  EXPECT_TRUE(run(p, experts, x, logits, p.dtype, stream) == all);
  const int64_t row_bytes = dtype_bytes(p.dtype, p.hidden);
  for (int64_t t = 0; t < p.num_tokens; t += 4) {
    const std::vector<char> alone = run(p, experts, rows_of(x, t, t + 1), rows_of(logits, t, t + 1), p.dtype, stream);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + t * row_bytes)) << "token " << t;
  }
}

// The sums of shards, added as the tree over them, have the bits of the sum of one.
inline void expect_sums_of_shards(const Problem& p, Stream& stream) {
  SCOPED_TRACE(name_of(p));
  const Tensor x = inputs_of(p);
  const Tensor logits = logits_of(p);
  const auto sums_of = [&](const MoeShape& shape) {
    const std::vector<char> bytes = run(p, experts_of(p, shape, stream), x, logits, DType::kF32, stream);
    std::vector<float> sums(bytes.size() / sizeof(float));
    std::memcpy(sums.data(), bytes.data(), bytes.size());
    return sums;
  };
  const std::vector<float> whole = sums_of(p.shape());
  for (const int64_t num_shards : {2, 4, 8}) {
    if (p.num_experts % num_shards != 0) continue;
    std::vector<std::vector<float>> parts;
    for (int64_t shard = 0; shard < num_shards; ++shard) parts.push_back(sums_of(p.shape(shard, num_shards)));
    for (; parts.size() > 1; parts.resize(parts.size() / 2)) {
      for (size_t i = 0; i < parts.size() / 2; ++i) {
        parts[i].swap(parts[2 * i]);
        for (size_t j = 0; j < parts[i].size(); ++j) parts[i][j] += parts[2 * i + 1][j];
      }
    }
    EXPECT_EQ(std::memcmp(parts[0].data(), whole.data(), whole.size() * sizeof(float)), 0) << num_shards << " shards";
  }
}

inline void expect_nothing_of_no_tokens(Stream& stream) {
  const Problem p{DType::kF32, 0, 8, 8, 4, 2};
  EXPECT_TRUE(run(p, stream).empty());
}

}  // namespace cohort::test::moe
