#include "kernels/moe/moe.h"

#include <algorithm>
#include <numeric>

#include "tests/op/moe_testing.h"

namespace cohort {
namespace {

using namespace test;
using namespace test::moe;

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

TEST(Moe, BitsOfATokenDependOnNothingElse) {
  for (const DType dtype : kFloatDTypes) {
    for (const Problem& p : problems(dtype)) {
      Stream stream(kCpuDevice, 2);
      expect_bits_of_a_token_alone(p, stream);
    }
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

}  // namespace
}  // namespace cohort
