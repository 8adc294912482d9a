#include "kernels/kv/kv_cache.h"

#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

struct Cache {
  Cache(DType dtype, int64_t num_blocks, int64_t num_heads, int64_t block_size, int64_t head_dim)
      : keys(dtype, {num_blocks, num_heads, block_size, head_dim}),
        values(dtype, {num_blocks, num_heads, block_size, head_dim}) {
    std::memset(keys->data(), 0xa5, static_cast<size_t>(keys->num_bytes()));
    std::memset(values->data(), 0xa5, static_cast<size_t>(values->num_bytes()));
  }
  KvCacheView view() const { return {keys, values}; }
  Tensor keys;
  Tensor values;
};

// The cache with the tokens' heads copied to their slots one by one.
std::string expected_bytes(const Tensor& cache, const GuardedTensor& tokens, const std::vector<int64_t>& slots) {
  const int64_t num_heads = cache->dim(1);
  const int64_t block_size = cache->dim(2);
  const auto num_head_bytes = static_cast<size_t>(dtype_bytes(cache->dtype(), cache->dim(3)));
  std::string bytes(static_cast<size_t>(cache->num_bytes()), '\xa5');
  for (size_t i = 0; i < slots.size(); ++i) {
    for (int64_t h = 0; h < num_heads; ++h) {
      const int64_t row = (slots[i] / block_size * num_heads + h) * block_size + slots[i] % block_size;
      std::memcpy(bytes.data() + static_cast<size_t>(row) * num_head_bytes,
                  tokens.row_bytes(static_cast<int64_t>(i)) + static_cast<size_t>(h) * num_head_bytes, num_head_bytes);
    }
  }
  return bytes;
}

std::string bytes_of(const Tensor& x) {
  return {static_cast<const char*>(x->data()), static_cast<size_t>(x->num_bytes())};
}

TEST(WriteKv, StoresTokensAtTheirSlotsAndNothingElse) {
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t block_size : {1, 3, 16}) {
      for (const int64_t head_dim : {1, 5, 64}) {
        for (const int64_t num_heads : {1, 3}) {
          for (const int num_threads : kThreadCounts) {
            Stream stream(kCpuDevice, num_threads);
            const Cache cache(dtype, 7, num_heads, block_size, head_dim);
            std::vector<int64_t> slots;
            for (int64_t slot = 7 * block_size - 1; slot >= 0; slot -= 2) slots.push_back(slot);
            const auto num_tokens = static_cast<int64_t>(slots.size());
            const GuardedTensor k(dtype, num_tokens, num_heads * head_dim, head_dim);
            const GuardedTensor v(dtype, num_tokens, num_heads * head_dim, head_dim);
            fill_random(k, 1);
            fill_random(v, 2);
            write_kv(cache.view(), k, v, int64_tensor(slots), stream);
            EXPECT_EQ(bytes_of(cache.keys), expected_bytes(cache.keys, k, slots));
            EXPECT_EQ(bytes_of(cache.values), expected_bytes(cache.values, v, slots));
          }
        }
      }
    }
  }
}

TEST(WriteKv, PaddingIsNotStored) {
  Stream stream(kCpuDevice, 2);
  const Cache cache(DType::kF32, 2, 1, 4, 8);
  const GuardedTensor k(DType::kF32, 3, 8, 8);
  fill_random(k, 1);
  write_kv(cache.view(), k, k, int64_tensor({-1, 5, -1}), stream);
  std::string expected(static_cast<size_t>(cache.keys->num_bytes()), '\xa5');
  expected.replace(5 * 32, 32, k.row_bytes(1), 32);
  EXPECT_EQ(bytes_of(cache.keys), expected);
  EXPECT_EQ(bytes_of(cache.values), expected);
}

TEST(WriteKv, NoTokensIsNothing) {
  Stream stream(kCpuDevice, 1);
  const Cache cache(DType::kF32, 2, 1, 4, 8);
  const GuardedTensor none(DType::kF32, 0, 8, 8);
  write_kv(cache.view(), none, none, int64_tensor({}), stream);
  EXPECT_EQ(bytes_of(cache.keys), std::string(static_cast<size_t>(cache.keys->num_bytes()), '\xa5'));
}

TEST(WriteKv, RefusesSlotsAndShapesThatDoNotFit) {
  Stream stream(kCpuDevice, 1);
  const Cache cache(DType::kF32, 2, 1, 4, 8);
  const GuardedTensor k(DType::kF32, 1, 8, 8);
  const GuardedTensor wide(DType::kF32, 1, 16, 8);
  const GuardedTensor half(DType::kF16, 1, 8, 8);
  EXPECT_THROW(write_kv(cache.view(), k, k, int64_tensor({8}), stream), CheckError);
  EXPECT_THROW(write_kv(cache.view(), k, k, int64_tensor({-2}), stream), CheckError);
  EXPECT_THROW(write_kv(cache.view(), k, k, int64_tensor({0, 1}), stream), CheckError);
  EXPECT_THROW(write_kv(cache.view(), wide, wide, int64_tensor({0}), stream), CheckError);
  EXPECT_THROW(write_kv(cache.view(), half, half, int64_tensor({0}), stream), CheckError);
}

}  // namespace
}  // namespace cohort
