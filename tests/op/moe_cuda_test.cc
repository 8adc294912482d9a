#include "kernels/core/device_graph.h"
#include "tests/op/moe_testing.h"

namespace cohort {
namespace {

using namespace test;
using namespace test::moe;

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
