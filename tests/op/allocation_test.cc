// "Nothing is allocated in a step": every op is called twice, and the second call must not allocate.
#include <atomic>
#include <cstdlib>
#include <new>

#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/embedding/embedding.h"
#include "kernels/norm/norm.h"
#include "kernels/position/rotary_cache.h"
#include "kernels/sampling/sampling.h"
#include "tests/op/op_test.h"

namespace {

std::atomic<int64_t> num_allocations{0};

void* counted_allocate(size_t num_bytes) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  void* const data = std::malloc(num_bytes);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace

void* operator new(size_t num_bytes) { return counted_allocate(num_bytes); }
void* operator new[](size_t num_bytes) { return counted_allocate(num_bytes); }
void* operator new(size_t num_bytes, const std::nothrow_t&) noexcept {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(num_bytes);
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete[](void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }
void operator delete[](void* data, size_t) noexcept { std::free(data); }

namespace cohort {
namespace {

using namespace test;

template <typename F>
void expect_no_allocation(const char* name, F&& op) {
  op();
  const int64_t before = num_allocations.load();
  op();
  EXPECT_EQ(num_allocations.load() - before, 0) << name;
}

constexpr int64_t kTokens = 64;
constexpr int64_t kHidden = 512;

class Allocation : public testing::Test {
 protected:
  Allocation()
      : x(DType::kBF16, kTokens, kHidden),
        y(DType::kBF16, kTokens, kHidden),
        weight(random_floats(kHidden, 1)),
        tokens(int32_tensor(std::vector<int32_t>(kTokens, 3))) {
    fill_random(x, 1);
    fill_random(y, 2);
  }
  Stream stream{kCpuDevice, 1};  // one thread: its workspace is warm after the first call
  GuardedTensor x, y;
  Tensor weight, tokens;
};

TEST_F(Allocation, RowOps) {
  expect_no_allocation("rms_norm", [&] { rms_norm(y, x, weight, 1e-5f, stream); });
  expect_no_allocation("add_layer_norm", [&] { add_layer_norm(y, x, y, weight, weight, 1e-5f, stream); });
  expect_no_allocation("activate", [&] { activate(y, x, Activation::kGelu, stream); });
  expect_no_allocation("activate_gated",
                       [&] { activate_gated(y.view().slice(1, 0, kHidden / 2), x, Activation::kSilu, stream); });
  expect_no_allocation("embedding", [&] { embedding(y, tokens, x, stream); });
  expect_no_allocation("add_embedding", [&] { add_embedding(y, tokens, x, stream); });
}

TEST_F(Allocation, HeadOps) {
  const TensorView q = x.view().reshape({kTokens, 8, 64});
  const TensorView k = y.view().slice(1, 0, 128).reshape({kTokens, 2, 64});
  RotaryConfig config;
  config.head_dim = config.rotary_dim = 64;
  config.max_position = 2;
  config.scaling.kind = RopeScalingKind::kDynamic;
  const RotaryEmbedding rotary = *RotaryEmbedding::create(config);
  expect_no_allocation("rotary", [&] { rotary.apply(q, k, tokens, tokens, stream); });

  const Tensor keys(DType::kBF16, {8, 2, 16, 64});
  const Tensor values(DType::kBF16, {8, 2, 16, 64});
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < kTokens; ++i) slots.push_back(i);
  const Tensor slot = int64_tensor(slots);
  expect_no_allocation("write_kv", [&] { write_kv({keys, values}, k, k, slot, stream); });
  expect_no_allocation("rotate_and_cache", [&] {
    rotate_and_cache(q, k, k, {keys, values}, {tokens, tokens, slot}, &rotary, stream);
  });

  const Tensor starts = int32_tensor({0, kTokens});
  const Tensor lengths = int32_tensor({kTokens});
  const Tensor blocks = int32_tensor({0, 1, 2, 3});
  const AttentionBatch batch{starts, lengths, blocks.view().reshape({1, 4})};
  expect_no_allocation("paged_attention", [&] { paged_attention(q, q, {keys, values}, batch, {0.1f}, {}, stream); });
}

TEST_F(Allocation, Sampling) {
  const std::vector<int32_t> history = {1, 2, 3};
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.temperature = 0}, SamplingParams{.top_k = 40},
        SamplingParams{.top_k = 40, .top_p = 0.9f, .min_p = 0.1f, .repetition_penalty = 1.1f},
        SamplingParams{.top_p = 0.9f, .logit_bias = {{3, 1.0f}}}}) {
    const SamplingRequest request{&params, history, history};
    Tensor logits(DType::kF32, {1, 5000});
    Tensor token(DType::kI32, {1});
    fill_random(logits, 1);
    const Tensor copy(DType::kF32, {1, 5000});
    std::memcpy(copy->data(), logits->data(), static_cast<size_t>(copy->num_bytes()));
    expect_no_allocation("sample", [&] {
      std::memcpy(logits->data(), copy->data(), static_cast<size_t>(copy->num_bytes()));
      sample(token, logits, std::span(&request, 1), stream);
    });
  }
}

}  // namespace
}  // namespace cohort
