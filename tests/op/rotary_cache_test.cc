// rotate_and_cache leaves the bits that its parts leave one after the other, on the CPU and on a GPU: q and k turned in
// place, v as it was, the cache with the tokens at their slots, and nothing for padding.
#include "kernels/position/rotary_cache.h"

#include <numeric>

#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

class RotaryCacheCuda : public CudaTest {};

constexpr int64_t kBlockSize = 8;

// q, k and v of tokens, with gap_of_heads elements behind each head, `gap` behind each token and `offset` before the
// first.
struct Case {
  DType dtype;
  RotaryPairing pairing;
  int64_t head_dim;
  int64_t rotary_dim;
  int64_t num_q_heads;
  int64_t num_kv_heads;
  int64_t num_tokens;
  int64_t offset = 0;
  int64_t gap = 0;
  int64_t gap_of_heads = 0;

  Layout rows(int64_t num_heads) const { return {num_tokens, num_heads * (head_dim + gap_of_heads), offset, gap}; }
  Layout cache() const { return {1, num_blocks() * num_kv_heads * kBlockSize * head_dim}; }
  int64_t num_blocks() const { return num_tokens / kBlockSize + 2; }
};

struct State {
  std::vector<char> q, k, v, keys, values;  // all bytes
};

void expect_equal(const State& a, const State& b) {
  EXPECT_TRUE(a.q == b.q);
  EXPECT_TRUE(a.k == b.k);
  EXPECT_TRUE(a.v == b.v);
  EXPECT_TRUE(a.keys == b.keys);
  EXPECT_TRUE(a.values == b.values);
}

std::vector<int64_t> some_slots(const Case& c, bool with_padding) {
  std::vector<int64_t> slots(static_cast<size_t>(c.num_blocks() * kBlockSize));
  std::iota(slots.begin(), slots.end(), 0);
  std::mt19937 rng(7);
  std::shuffle(slots.begin(), slots.end(), rng);
  slots.resize(static_cast<size_t>(c.num_tokens));
  for (size_t i = 0; with_padding && i < slots.size(); i += 3) slots[i] = -1;
  return slots;
}

RotaryEmbedding make(const Case& c, Stream& stream) {
  RotaryConfig config;
  config.head_dim = c.head_dim;
  config.rotary_dim = c.rotary_dim;
  config.pairing = c.pairing;
  config.max_position = 2048;
  config.scaling.kind = c.rotary_dim == 2 ? RopeScalingKind::kNone : RopeScalingKind::kDynamic;
  config.scaling.factor = 4;
  Result<RotaryEmbedding> rotary = RotaryEmbedding::create(config);
  EXPECT_TRUE(rotary.ok()) << rotary.status().message();
  rotary->prepare(stream);
  return *std::move(rotary);
}

// The op, or its parts. rotary_dim 0 is for no rotary positions.
State run(const Case& c, bool is_fused, const std::vector<int64_t>& slots, Stream& stream) {
  const Device device = stream.device();
  const auto operand = [&](const Layout& layout, uint32_t seed) {
    return Operand(random_bytes(c.dtype, layout.num_elements(), seed), c.dtype, layout, device);
  };
  const Operand q = operand(c.rows(c.num_q_heads), 1);
  const Operand k = operand(c.rows(c.num_kv_heads), 2);
  const Operand v = operand(c.rows(c.num_kv_heads), 3);
  const Operand keys = operand(c.cache(), 4);
  const Operand values = operand(c.cache(), 5);
  const auto heads = [&](const Operand& x, int64_t num_heads) {
    return x.view().reshape({c.num_tokens, num_heads, c.head_dim + c.gap_of_heads}).slice(2, 0, c.head_dim);
  };
  const TensorView q_heads = heads(q, c.num_q_heads);
  const TensorView k_heads = heads(k, c.num_kv_heads);
  const TensorView v_heads = heads(v, c.num_kv_heads);
  const Shape cache_shape{c.num_blocks(), c.num_kv_heads, kBlockSize, c.head_dim};
  const KvCacheView cache{keys.view().reshape(cache_shape), values.view().reshape(cache_shape)};

  std::vector<int32_t> positions;
  std::vector<int32_t> lengths;
  for (int32_t i = 0; i < c.num_tokens; ++i) {
    positions.push_back(i * 97 % 5000);
    lengths.push_back(std::max(positions.back() + 1, i % 2 * 3000));
  }
  const Tensor position = on_device(int32_tensor(positions), device);
  const Tensor length = on_device(int32_tensor(lengths), device);
  const Tensor slot = on_device(int64_tensor(slots), device);
  std::optional<RotaryEmbedding> rotary;
  if (c.rotary_dim > 0) rotary = make(c, stream);
  if (is_fused) {
    rotate_and_cache(q_heads, k_heads, v_heads, cache, {position, length, slot}, rotary ? &*rotary : nullptr, stream);
  } else {
    if (rotary) rotary->apply(q_heads, k_heads, position, length, stream);
    write_kv(cache, k_heads, v_heads, slot, stream);
  }
  stream.synchronize();
  return {q.bytes(), k.bytes(), v.bytes(), keys.bytes(), values.bytes()};
}

std::vector<Case> cases(DType dtype, RotaryPairing pairing) {
  return {{dtype, pairing, 2, 2, 3, 1, 5},
          {dtype, pairing, 5, 4, 1, 2, 5, 0, 3},
          {dtype, pairing, 16, 16, 4, 1, 1},
          {dtype, pairing, 17, 6, 2, 3, 11, 1},
          {dtype, pairing, 64, 32, 6, 2, 33, 0, 128},
          {dtype, pairing, 64, 64, 6, 2, 33, 3, 1},
          {dtype, pairing, 80, 80, 5, 5, 9, 8, 8},
          {dtype, pairing, 96, 32, 1, 1, 300, 0, 8, 16},
          {dtype, pairing, 128, 128, 40, 40, 1, 0, 40 * 128},
          {dtype, pairing, 128, 128, 64, 8, 67},
          {dtype, pairing, 128, 128, 5, 1, 700, 0, 0, 8},
          {dtype, pairing, 1300, 1300, 2, 1, 3},
          {dtype, pairing, 40, 0, 3, 2, 20},
          {dtype, pairing, 64, 64, 2, 1, 0},
          {dtype, pairing, 64, 64, 0, 3, 6},
          {dtype, pairing, 64, 64, 3, 0, 6}};
}

void expect_bits_of_the_parts(Stream& stream) {
  for (const DType dtype : kFloatDTypes) {
    for (const RotaryPairing pairing : {RotaryPairing::kHalves, RotaryPairing::kInterleaved}) {
      for (const Case& c : cases(dtype, pairing)) {
        for (const bool with_padding : {false, true}) {
          SCOPED_TRACE(name_of(c.rows(c.num_q_heads), dtype) + ", heads of " + std::to_string(c.head_dim));
          const std::vector<int64_t> slots = some_slots(c, with_padding);
          expect_equal(run(c, true, slots, stream), run(c, false, slots, stream));
        }
      }
    }
  }
}

TEST(RotaryCache, HasTheBitsOfItsParts) {
  Stream stream(kCpuDevice, 2);
  expect_bits_of_the_parts(stream);
}

TEST(RotaryCache, PaddingLeavesTheCache) {
  Stream stream(kCpuDevice, 2);
  const Case c{DType::kBF16, RotaryPairing::kHalves, 16, 16, 4, 2, 5};
  const State state = run(c, true, std::vector<int64_t>(5, -1), stream);
  EXPECT_TRUE(state.keys == random_bytes(c.dtype, c.cache().num_elements(), 4));
  EXPECT_TRUE(state.values == random_bytes(c.dtype, c.cache().num_elements(), 5));
}

TEST(RotaryCache, RefusesSlotsThatDoNotFit) {
  Stream stream(kCpuDevice, 2);
  const Case c{DType::kF32, RotaryPairing::kHalves, 16, 16, 4, 2, 1};
  EXPECT_THROW(run(c, true, {-2}, stream), CheckError);
  EXPECT_THROW(run(c, true, {c.num_blocks() * kBlockSize}, stream), CheckError);
  EXPECT_THROW(run(c, true, {0, 1}, stream), CheckError);
}

TEST_F(RotaryCacheCuda, HasTheBitsOfItsParts) { expect_bits_of_the_parts(cuda()); }

TEST_F(RotaryCacheCuda, PaddingLeavesTheCache) {
  const Case c{DType::kBF16, RotaryPairing::kHalves, 64, 64, 4, 2, 5};
  const State state = run(c, true, std::vector<int64_t>(5, -1), cuda());
  EXPECT_TRUE(state.keys == random_bytes(c.dtype, c.cache().num_elements(), 4));
  EXPECT_TRUE(state.values == random_bytes(c.dtype, c.cache().num_elements(), 5));
}

}  // namespace
}  // namespace cohort
