#include "kernels/position/rotary.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr RotaryPairing kPairings[] = {RotaryPairing::kHalves, RotaryPairing::kInterleaved};
constexpr RopeScalingKind kScalings[] = {RopeScalingKind::kNone, RopeScalingKind::kLinear, RopeScalingKind::kDynamic,
                                         RopeScalingKind::kYarn, RopeScalingKind::kLlama3, RopeScalingKind::kLongRope};

class RotaryCuda : public CudaTest {};

RotaryConfig config_of(int64_t head_dim, int64_t rotary_dim, RotaryPairing pairing, RopeScalingKind kind) {
  RotaryConfig config;
  config.head_dim = head_dim;
  config.rotary_dim = rotary_dim;
  config.pairing = pairing;
  config.max_position = 2048;
  config.scaling.kind = kind;
  config.scaling.factor = 4;
  config.scaling.original_max_position = 2048;
  if (kind == RopeScalingKind::kLongRope) {
    for (int64_t pair = 0; pair < rotary_dim / 2; ++pair) {
      config.scaling.short_factor.push_back(1 + 0.01 * static_cast<double>(pair));
      config.scaling.long_factor.push_back(2 + 0.5 * static_cast<double>(pair));
    }
  }
  return config;
}

RotaryEmbedding make(const RotaryConfig& config, Stream& stream) {
  Result<RotaryEmbedding> rotary = RotaryEmbedding::create(config);
  EXPECT_TRUE(rotary.ok()) << rotary.status().message();
  rotary->prepare(stream);
  return *std::move(rotary);
}

// q of num_q_heads and k of num_k_heads heads with `gap_of_heads` elements behind each, between gaps and guards.
struct Case {
  RotaryConfig config;
  DType dtype;
  int64_t num_q_heads;
  int64_t num_k_heads;
  int64_t offset = 0;
  int64_t gap = 0;
  int64_t gap_of_heads = 0;

  Layout rows(int64_t num_tokens, int64_t num_heads) const {
    return {num_tokens, num_heads * (config.head_dim + gap_of_heads), offset, gap};
  }
};

struct Turned {
  std::vector<char> q;
  std::vector<char> k;  // all bytes
};

Turned run(const Case& c, const std::vector<int32_t>& positions, const std::vector<int32_t>& lengths,
           const std::vector<char>& q_bytes, const std::vector<char>& k_bytes, Stream& stream) {
  const Device device = stream.device();
  const auto num_tokens = static_cast<int64_t>(positions.size());
  const Operand q(q_bytes, c.dtype, c.rows(num_tokens, c.num_q_heads), device);
  const Operand k(k_bytes, c.dtype, c.rows(num_tokens, c.num_k_heads), device);
  const auto heads = [&](const Operand& x, int64_t num_heads) {
    return x.view().reshape({num_tokens, num_heads, c.config.head_dim + c.gap_of_heads}).slice(2, 0, c.config.head_dim);
  };
  make(c.config, stream)
      .apply(heads(q, c.num_q_heads), heads(k, c.num_k_heads), on_device(int32_tensor(positions), device),
             on_device(int32_tensor(lengths), device), stream);
  stream.synchronize();
  return {q.bytes(), k.bytes()};
}

Turned run(const Case& c, const std::vector<int32_t>& positions, const std::vector<int32_t>& lengths, Stream& stream) {
  const auto num_tokens = static_cast<int64_t>(positions.size());
  return run(c, positions, lengths, random_bytes(c.dtype, c.rows(num_tokens, c.num_q_heads).num_elements(), 1),
             random_bytes(c.dtype, c.rows(num_tokens, c.num_k_heads).num_elements(), 2), stream);
}

// cos and sin agree within 2e-6; a turned element is a sum of two products of normal values with them.
void expect_like_cpu(const Turned& cuda, const Turned& cpu, const Case& c, int64_t num_tokens) {
  expect_near_bytes(cuda.q, cpu.q, c.dtype, c.rows(num_tokens, c.num_q_heads), 0, 1.5e-5);
  expect_near_bytes(cuda.k, cpu.k, c.dtype, c.rows(num_tokens, c.num_k_heads), 0, 1.5e-5);
}

const std::vector<int32_t> kPositions = {0, 1, 5, 63, 64, 2047, 2048, 5000, 131071, 999999};
const std::vector<int32_t> kLengths = {1, 3000, 6, 64, 4000, 2048, 2049, 5001, 131072, 1000000};

TEST_F(RotaryCuda, AgreesWithTheCpu) {
  const auto num_tokens = static_cast<int64_t>(kPositions.size());
  for (const DType dtype : kFloatDTypes) {
    for (const RotaryPairing pairing : kPairings) {
      for (const auto& [head_dim, rotary_dim] :
           {std::pair{2, 2}, {5, 4}, {12, 12}, {16, 16}, {17, 6}, {64, 64}, {128, 32}, {77, 34}, {2600, 2600}}) {
        const auto kind = rotary_dim == 2 ? RopeScalingKind::kNone : RopeScalingKind::kDynamic;
        const RotaryConfig config = config_of(head_dim, rotary_dim, pairing, kind);
        for (const Case& c : {Case{config, dtype, 3, 1}, Case{config, dtype, 1, 2, 1}, Case{config, dtype, 2, 1, 0, 8},
                              Case{config, dtype, 2, 2, 0, 3}, Case{config, dtype, 2, 1, 0, 0, 8},
                              Case{config, dtype, 2, 3, 0, 0, 1}}) {
          SCOPED_TRACE(name_of(c.rows(num_tokens, c.num_q_heads), dtype) + ", turns " + std::to_string(rotary_dim));
          expect_like_cpu(run(c, kPositions, kLengths, cuda()), run(c, kPositions, kLengths, cpu()), c, num_tokens);
        }
      }
    }
  }
}

TEST_F(RotaryCuda, AgreesWithTheCpuOnManyTokens) {
  std::vector<int32_t> positions;
  std::vector<int32_t> lengths;
  for (int32_t i = 0; i < 3000; ++i) {
    positions.push_back(i * 7 % 4096);
    lengths.push_back(std::max(positions.back() + 1, i % 3 == 0 ? 4096 : 0));
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Case c{config_of(128, 128, RotaryPairing::kHalves, RopeScalingKind::kDynamic), dtype, 9, 2, 0, 128};
    expect_like_cpu(run(c, positions, lengths, cuda()), run(c, positions, lengths, cpu()), c, 3000);
  }
}

// Heads of which every pair is (1, 0) become cosines and sines.
TEST_F(RotaryCuda, CosinesAndSinesAgreeUpToAMillion) {
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < 1000; ++i) positions.push_back(i < 200 ? i : 1000 * i + i % 17);
  std::vector<int32_t> lengths;
  for (const int32_t position : positions) lengths.push_back(position + 1);
  for (const RopeScalingKind kind : kScalings) {
    const Case c{config_of(64, 64, RotaryPairing::kInterleaved, kind), DType::kF32, 1, 1};
    const Layout rows = c.rows(1000, 1);
    std::vector<char> ones(static_cast<size_t>(4 * rows.num_elements()));
    for (int64_t i = 0; i < rows.num_elements(); ++i) {
      const float value = i % 2 == 0 ? 1.0f : 0.0f;
      std::memcpy(ones.data() + 4 * i, &value, 4);
    }
    const Turned expected = run(c, positions, lengths, ones, ones, cpu());
    const Turned got = run(c, positions, lengths, ones, ones, cuda());
    expect_near_bytes(got.q, expected.q, DType::kF32, rows, 0, 2e-6);
    expect_near_bytes(got.k, expected.k, DType::kF32, rows, 0, 2e-6);
  }
}

TEST_F(RotaryCuda, BitsOfATokenDependOnNothingElse) {
  const auto num_tokens = static_cast<int64_t>(kPositions.size());
  for (const DType dtype : kFloatDTypes) {
    for (const RotaryPairing pairing : kPairings) {
      const RotaryConfig config = config_of(64, 32, pairing, RopeScalingKind::kDynamic);
      const Case together{config, dtype, 31, 1};
      const Layout rows = together.rows(num_tokens, 31);
      const std::vector<char> q = random_bytes(dtype, rows.num_elements(), 1);
      const std::vector<char> k = random_bytes(dtype, together.rows(num_tokens, 1).num_elements(), 2);
      const Turned all = run(together, kPositions, kLengths, q, k, cuda());
      for (int64_t i = 0; i < num_tokens; ++i) {
        for (const int64_t offset : {0, 1}) {  // where vectors may be, and where not
          const Case alone{config, dtype, 31, 1, offset};
          std::vector<char> own = poison(dtype, alone.rows(1, 31));
          const std::string row = row_of(q, dtype, rows, i);
          std::copy(row.begin(), row.end(), own.begin() + dtype_bytes(dtype, offset));
          const Turned turned = run(alone, {kPositions[static_cast<size_t>(i)]}, {kLengths[static_cast<size_t>(i)]},
                                    own, poison(dtype, alone.rows(1, 1)), cuda());
          EXPECT_TRUE(row_of(turned.q, dtype, alone.rows(1, 31), 0) == row_of(all.q, dtype, rows, i)) << "token " << i;
        }
      }
    }
  }
}

TEST_F(RotaryCuda, NoTokensOrHeadsIsNothing) {
  const RotaryConfig config = config_of(8, 8, RotaryPairing::kHalves, RopeScalingKind::kNone);
  const Case none{config, DType::kF32, 1, 1};
  EXPECT_TRUE(run(none, {}, {}, cuda()).q == run(none, {}, {}, cpu()).q);
  const Case no_q{config, DType::kF32, 0, 2};
  expect_like_cpu(run(no_q, {3, 4}, {4, 5}, cuda()), run(no_q, {3, 4}, {4, 5}, cpu()), no_q, 2);
}

TEST_F(RotaryCuda, RefusesToTurnUnprepared) {
  const RotaryConfig config = config_of(8, 8, RotaryPairing::kHalves, RopeScalingKind::kNone);
  RotaryEmbedding rotary = make(config, cpu());
  const Tensor q(DType::kF32, {1, 1, 8}, kCuda);
  const Tensor one = on_device(int32_tensor({1}), kCuda);
  EXPECT_THROW(rotary.apply(q, q, one, one, cuda()), CheckError);
  rotary.prepare(cuda());
  EXPECT_NO_THROW(rotary.apply(q, q, one, one, cuda()));
  EXPECT_THROW(rotary.apply(q, q, int32_tensor({1}), one, cuda()), CheckError);
  cuda().synchronize();
}

}  // namespace
}  // namespace cohort
