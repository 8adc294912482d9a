#include "kernels/moe/moe.h"

#include <algorithm>
#include <numeric>

#include "kernels/core/device_graph.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

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

std::string name_of(const Problem& p) {
  return std::string(dtype_name(p.dtype)) + ", " + std::to_string(p.num_tokens) + " tokens, " +
         std::to_string(p.per_token) + " of " + std::to_string(p.num_experts) + " experts, " +
         std::to_string(p.hidden) + " x " + std::to_string(p.ffn);
}

Tensor logits_of(const Problem& p, uint32_t seed = 3) {
  Tensor logits(DType::kF32, {p.num_tokens, p.num_experts});
  fill_random(logits, seed, 2);
  return logits;
}

Tensor inputs_of(const Problem& p, uint32_t seed = 4) {
  Tensor x(p.dtype, {p.num_tokens, p.hidden});
  fill_random(x, seed);
  return x;
}

// The matrices of an expert, spread so that what they give is about 1.
Tensor gate_up_of(const Problem& p, int64_t expert) {
  Tensor weight(p.dtype, {2 * p.ffn, p.hidden});
  fill_random(weight, static_cast<uint32_t>(100 + expert), 1.5 / std::sqrt(static_cast<double>(p.hidden)));
  return weight;
}

Tensor down_of(const Problem& p, int64_t expert) {
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

ExpertWeights experts_of(const Problem& p, const MoeShape& shape, Stream& stream) {
  return {shape, p.activation, pack(p, shape, gate_up_of, stream), pack(p, shape, down_of, stream)};
}

// Everything that an op may leave as it is, as NaN.
MoeWorkspace workspace_of(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device) {
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
std::vector<char> run(const Problem& p, const ExpertWeights& experts, const Tensor& x, const Tensor& logits,
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

std::vector<char> run(const Problem& p, Stream& stream) {
  return run(p, experts_of(p, p.shape(), stream), inputs_of(p), logits_of(p), p.dtype, stream);
}

// A token's experts, ascending, and their weights, in double precision.
struct Choice {
  std::vector<int32_t> experts;
  std::vector<double> weights;
};

Choice choose(const float* logits, const Problem& p) {
  std::vector<int32_t> order(static_cast<size_t>(p.num_experts));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  Choice choice;
  choice.experts.assign(order.begin(), order.begin() + p.per_token);
  std::sort(choice.experts.begin(), choice.experts.end());
  double sum = 0;
  for (const int32_t e : p.renormalizes ? choice.experts : order) sum += std::exp(static_cast<double>(logits[e]));
  for (const int32_t e : choice.experts) choice.weights.push_back(std::exp(static_cast<double>(logits[e])) / sum);
  return choice;
}

double activated(double x, Activation activation) {
  return activation == Activation::kRelu ? std::max(x, 0.0) : x / (1 + std::exp(-x));
}

// In double precision, rounded where the op rounds.
std::vector<double> reference(const Problem& p) {
  const Tensor x = inputs_of(p);
  const Tensor logits = logits_of(p);
  const std::vector<double> in = values_of(x);
  std::vector<double> out(in.size());
  std::vector<std::vector<double>> gate_up;
  std::vector<std::vector<double>> down;
  for (int64_t e = 0; e < p.num_experts; ++e) {
    gate_up.push_back(values_of(gate_up_of(p, e)));
    down.push_back(values_of(down_of(p, e)));
  }
  dispatch_float(p.dtype, [&]<typename T>() {
    const auto rounded = [](double value) -> double { return static_cast<float>(T(static_cast<float>(value))); };
    for (int64_t t = 0; t < p.num_tokens; ++t) {
      const Choice choice = choose(logits->row<float>(t), p);
      for (size_t c = 0; c < choice.experts.size(); ++c) {
        const auto& w = gate_up[static_cast<size_t>(choice.experts[c])];
        const auto product = [&](int64_t row) {
          return std::inner_product(w.begin() + row * p.hidden, w.begin() + (row + 1) * p.hidden,
                                    in.begin() + t * p.hidden, 0.0);
        };
        std::vector<double> inner;
        for (int64_t i = 0; i < p.ffn; ++i) {
          inner.push_back(rounded(activated(rounded(product(i)), p.activation) * rounded(product(p.ffn + i))));
        }
        const auto& d = down[static_cast<size_t>(choice.experts[c])];
        for (int64_t i = 0; i < p.hidden; ++i) {
          out[static_cast<size_t>(t * p.hidden + i)] +=
              choice.weights[c] * std::inner_product(inner.begin(), inner.end(), d.begin() + i * p.ffn, 0.0);
        }
      }
    }
  });
  return out;
}

// Shapes that hurt, and two experts of Mixtral's.
std::vector<Problem> problems(DType dtype) {
  return {
      {dtype, 1, 8, 8, 2, 1},           {dtype, 1, 64, 48, 8, 2},
      {dtype, 7, 32, 40, 8, 2},         {dtype, 33, 24, 37, 8, 2, true, Activation::kRelu},
      {dtype, 70, 48, 24, 4, 2, false}, {dtype, 9, 37, 19, 12, 5, false},
      {dtype, 20, 16, 8, 60, 4},        {dtype, 5, 16, 8, 3, 3},
      {dtype, 40, 136, 72, 16, 8},      {dtype, 3, 40, 16, 512, 16, false},
  };
}

// Of sums of float32, and of 16 bits of elements between them that were rounded the other way.
double tolerance_of(DType dtype) { return dtype == DType::kF32 ? 2e-5 : 6 * rounding_of(dtype); }

TEST(MoeRoute, SendsTokensToTheLargestLogits) {
  Stream stream(kCpuDevice, 2);
  for (const Problem& p : problems(DType::kF32)) {
    SCOPED_TRACE(name_of(p));
    const Tensor logits = logits_of(p);
    MoeWorkspace workspace = workspace_of(p.shape(), p.dtype, p.num_tokens, kCpuDevice);
    route(workspace, logits, p.shape(), p.renormalizes, stream);
    for (int64_t t = 0; t < p.num_tokens; ++t) {
      const Choice expected = choose(logits->row<float>(t), p);
      const int32_t* const experts = workspace.experts->row<int32_t>(t);
      EXPECT_EQ(std::vector<int32_t>(experts, experts + p.per_token), expected.experts);
      for (int64_t c = 0; c < p.per_token; ++c) {
        const double weight = expected.weights[static_cast<size_t>(c)];
        EXPECT_NEAR(workspace.weights->row<float>(t)[c], weight, 1e-6 * weight);
      }
    }
  }
}

// Pairs of local experts have one row each, ordered by expert and token.
void expect_grouped(const MoeWorkspace& workspace, int64_t num_tokens, const MoeShape& shape) {
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

TEST(MoeRoute, GroupsPairsByExpert) {
  Stream stream(kCpuDevice, 2);
  for (const Problem& p : problems(DType::kF32)) {
    for (const int64_t num_shards : {1, 2, 4}) {
      if (p.num_experts % num_shards != 0) continue;
      SCOPED_TRACE(name_of(p));
      const MoeShape shape = p.shape(num_shards - 1, num_shards);
      MoeWorkspace workspace = workspace_of(shape, p.dtype, p.num_tokens, kCpuDevice);
      route(workspace, logits_of(p), shape, p.renormalizes, stream);
      expect_grouped(workspace, p.num_tokens, shape);
    }
  }
}

// Equal logits, infinite ones and NaN, on any device.
void expect_edges(Stream& stream) {
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

TEST(MoeRoute, EqualLogitsAndNaN) {
  Stream stream(kCpuDevice, 1);
  expect_edges(stream);
}

TEST(Moe, AgreesWithDoublePrecision) {
  for (const DType dtype : kFloatDTypes) {
    for (const Problem& p : problems(dtype)) {
      SCOPED_TRACE(name_of(p));
      Stream stream(kCpuDevice, 2);
      const std::vector<char> got = run(p, stream);
      Tensor out(dtype, {p.num_tokens, p.hidden});
      std::memcpy(out->data(), got.data(), got.size());
      expect_near(out, reference(p), 1.01 * rounding_of(dtype) + 1e-6, tolerance_of(dtype));
    }
  }
}

Tensor rows_of(const ConstTensorView& x, int64_t begin, int64_t end) {
  Tensor rows(x.dtype(), {end - begin, x.dim(1)});
  const int64_t row_bytes = dtype_bytes(x.dtype(), x.dim(1));
  std::memcpy(rows->data(), static_cast<const char*>(x.data()) + begin * row_bytes,
              static_cast<size_t>((end - begin) * row_bytes));
  return rows;
}

void expect_bits_of_a_token_alone(const Problem& p, Stream& stream) {
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

TEST(Moe, BitsOfATokenDependOnNothingElse) {
  for (const DType dtype : kFloatDTypes) {
    for (const Problem& p : problems(dtype)) {
      Stream stream(kCpuDevice, 2);
      expect_bits_of_a_token_alone(p, stream);
    }
  }
}

// The sums of shards, added as the tree over them, have the bits of the sum of one.
void expect_sums_of_shards(const Problem& p, Stream& stream) {
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

TEST(Moe, ShardsAddUpToTheSameBits) {
  for (const DType dtype : kFloatDTypes) {
    for (const Problem& p : problems(dtype)) {
      Stream stream(kCpuDevice, 2);
      expect_sums_of_shards(p, stream);
    }
  }
}

TEST(Moe, BitsDoNotDependOnThreads) {
  const Problem p{DType::kBF16, 33, 64, 48, 8, 2};
  Stream one(kCpuDevice, 1);
  const std::vector<char> expected = run(p, one);
  for (const int num_threads : kThreadCounts) {
    Stream stream(kCpuDevice, num_threads);
    EXPECT_TRUE(run(p, stream) == expected);
  }
}

void expect_nothing_of_no_tokens(Stream& stream) {
  const Problem p{DType::kF32, 0, 8, 8, 4, 2};
  EXPECT_TRUE(run(p, stream).empty());
}

TEST(Moe, NoTokensIsNothing) {
  Stream stream(kCpuDevice, 1);
  expect_nothing_of_no_tokens(stream);
}

TEST(Moe, RefusesWhatDoesNotFit) {
  Stream stream(kCpuDevice, 1);
  const Problem p{DType::kF32, 2, 8, 16, 4, 2};
  const ExpertWeights experts = experts_of(p, p.shape(), stream);
  MoeWorkspace workspace(p.shape(), p.dtype, 2, kCpuDevice);
  const Tensor x = inputs_of(p);
  EXPECT_THROW(route(workspace, Tensor(DType::kF32, {2, 3}), p.shape(), true, stream), CheckError);
  EXPECT_THROW(route(workspace, Tensor(DType::kF32, {3, 4}), p.shape(), true, stream), CheckError);
  route(workspace, logits_of(p), p.shape(), true, stream);
  EXPECT_THROW(expert_mlp(Tensor(DType::kF32, {2, 7}), x, experts, workspace, stream), CheckError);
  EXPECT_THROW(expert_mlp(Tensor(DType::kF16, {2, 8}), x, experts, workspace, stream), CheckError);
  ExpertWeights fewer = experts_of(p, p.shape(0, 2), stream);
  EXPECT_THROW(expert_mlp(x, x, fewer, workspace, stream), CheckError);
  EXPECT_THROW(MoeWorkspace({8, 8, 600, 2, 0, 600}, DType::kF32, 1, kCpuDevice), CheckError);
  EXPECT_THROW(MoeWorkspace({8, 8, 4, 5, 0, 4}, DType::kF32, 1, kCpuDevice), CheckError);
}

class MoeCuda : public CudaTest {
 protected:
  void expect_like_cpu(const Problem& p) {
    SCOPED_TRACE(name_of(p));
    const Layout rows{p.num_tokens, p.hidden, 0, 0};
    std::vector<char> expected = run(p, cpu());
    std::vector<char> got = run(p, cuda());
    expected.resize(static_cast<size_t>(dtype_bytes(p.dtype, rows.num_elements())));
    got.resize(expected.size());
    expect_near_bytes(got, expected, p.dtype, rows, 2e-6, tolerance_of(p.dtype));
  }
};

TEST_F(MoeCuda, RoutesLikeTheCpu) {
  for (Problem p : problems(DType::kF32)) {
    for (const int64_t num_tokens : {p.num_tokens, int64_t{3000}}) {
      for (const int64_t num_shards : {1, 2, 4}) {
        if (p.num_experts % num_shards != 0) continue;
        p.num_tokens = num_tokens;
        SCOPED_TRACE(name_of(p));
        const MoeShape shape = p.shape(num_shards / 2, num_shards);
        const Tensor logits = logits_of(p);
        MoeWorkspace expected = workspace_of(shape, p.dtype, num_tokens, kCpuDevice);
        route(expected, logits, shape, p.renormalizes, cpu());
        MoeWorkspace got = workspace_of(shape, p.dtype, num_tokens, kCuda);
        route(got, on_device(logits, kCuda), shape, p.renormalizes, cuda());
        cuda().synchronize();
        EXPECT_EQ(int32_values_of(got.experts), int32_values_of(expected.experts));
        expect_grouped(got, num_tokens, shape);
        const Tensor weights = on_device(expected.weights, kCpuDevice);
        copy_bytes(weights->data(), kCpuDevice, got.weights->data(), kCuda, weights->num_bytes());
        expect_near(weights, values_of(expected.weights), 2e-6, 1e-30);
      }
    }
  }
}

TEST_F(MoeCuda, RoutesEqualLogitsAndNaN) { expect_edges(cuda()); }

TEST_F(MoeCuda, AgreesWithTheCpu) {
  for (const DType dtype : kFloatDTypes) {
    for (const GemmMode mode : {GemmMode::kFast, GemmMode::kDeterministic}) {
      for (Problem p : problems(dtype)) {
        p.mode = mode;
        expect_like_cpu(p);
      }
    }
  }
}

// Of the sizes at which other kernels take over, with more columns than fit a strip.
TEST_F(MoeCuda, AgreesWithTheCpuOnLargerExperts) {
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t num_tokens : {1, 2, 4, 8, 9, 16, 17, 32, 33, 64, 65, 200}) {
      expect_like_cpu({dtype, num_tokens, 264, 520, 8, 2, true, Activation::kSilu, GemmMode::kFast});
    }
    expect_like_cpu({dtype, 100, 264, 520, 8, 2});
  }
}

TEST_F(MoeCuda, BitsOfATokenDependOnNothingElse) {
  for (const DType dtype : kFloatDTypes) {
    for (const Problem& p : problems(dtype)) expect_bits_of_a_token_alone(p, cuda());
    expect_bits_of_a_token_alone({dtype, 90, 264, 520, 8, 2}, cuda());
  }
}

TEST_F(MoeCuda, ShardsAddUpToTheSameBits) {
  for (const DType dtype : kFloatDTypes) {
    for (const Problem& p : problems(dtype)) expect_sums_of_shards(p, cuda());
  }
}

// All tokens to one expert, and tokens of which none is local.
TEST_F(MoeCuda, UnevenTokens) {
  for (const GemmMode mode : {GemmMode::kFast, GemmMode::kDeterministic}) {
    for (const int64_t num_tokens : {3, 40, 150}) {
      Problem p{DType::kBF16, num_tokens, 64, 48, 8, 2};
      p.mode = mode;
      Tensor logits(DType::kF32, {num_tokens, 8});
      fill(logits,
           [i = 0]() mutable { return std::vector<float>{0, 0, 9, 0, 0, 8, 0, 0}[static_cast<size_t>(i++ % 8)]; });
      const Tensor x = inputs_of(p);
      const Layout rows{num_tokens, p.hidden, 0, 0};
      for (int64_t shard = 0; shard < 4; ++shard) {
        const MoeShape shape = p.shape(shard, 4);
        std::vector<char> expected = run(p, experts_of(p, shape, cpu()), x, logits, DType::kF32, cpu());
        std::vector<char> got = run(p, experts_of(p, shape, cuda()), x, logits, DType::kF32, cuda());
        expected.resize(static_cast<size_t>(4 * rows.num_elements()));
        got.resize(expected.size());
        expect_near_bytes(got, expected, DType::kF32, rows, 2e-6, shard == 0 || shard == 3 ? 0 : 2e-3);
      }
    }
  }
}

// What a captured step reads may choose other experts each time.
TEST_F(MoeCuda, CapturedStepsFollowTheirTokens) {
  for (const int64_t num_tokens : {5, 100}) {
    Problem p{DType::kBF16, num_tokens, 64, 48, 8, 2};
    p.mode = GemmMode::kFast;
    const ExpertWeights experts = experts_of(p, p.shape(), cuda());
    MoeWorkspace workspace = workspace_of(p.shape(), p.dtype, num_tokens, kCuda);
    const Tensor x = on_device(inputs_of(p), kCuda);
    const Tensor logits = on_device(logits_of(p), kCuda);
    const Tensor out(p.dtype, {num_tokens, p.hidden}, kCuda);
    const auto step = [&] {
      route(workspace, logits, p.shape(), true, cuda());
      expert_mlp(out, x, experts, workspace, cuda());
    };
    step();
    cuda().synchronize();
    const DeviceGraph graph = DeviceGraph::capture(cuda(), step);
    for (const uint32_t seed : {7, 8}) {
      const Tensor others = logits_of(p, seed);
      copy_bytes(logits->data(), kCuda, others->data(), kCpuDevice, others->num_bytes());
      graph.launch(cuda());
      cuda().synchronize();
      std::vector<char> got(static_cast<size_t>(out->num_bytes()));
      copy_bytes(got.data(), kCpuDevice, out->data(), kCuda, out->num_bytes());
      EXPECT_TRUE(got == run(p, experts, inputs_of(p), others, p.dtype, cuda()));
    }
  }
}

TEST_F(MoeCuda, NoTokensIsNothing) { expect_nothing_of_no_tokens(cuda()); }

}  // namespace
}  // namespace cohort
