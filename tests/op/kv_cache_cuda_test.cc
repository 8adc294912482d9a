// The GPU's bits are the CPU's, in all of the cache.
#include <numeric>

#include "kernels/kv/kv_cache.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

class WriteKvCuda : public CudaTest {};

struct Case {
  DType dtype;
  int64_t num_blocks;
  int64_t num_heads;
  int64_t block_size;
  int64_t head_dim;
  int64_t num_tokens;
  int64_t offset = 0;        // of k and v in their allocations, in elements
  int64_t gap = 0;           // behind a token of k; v has 8 more
  int64_t gap_of_heads = 0;  // behind each head

  Shape cache_shape() const { return {num_blocks, num_heads, block_size, head_dim}; }
  Layout rows(int64_t more_gap) const {
    return {num_tokens, num_heads * (head_dim + gap_of_heads), offset, gap + more_gap};
  }
};

// The whole cache, which begins as 0xa5: keys, then values.
std::vector<char> run(const Case& c, const std::vector<int64_t>& slots, Stream& stream) {
  const Device device = stream.device();
  const Layout cache{1, c.cache_shape().num_elements()};
  const std::vector<char> before(static_cast<size_t>(dtype_bytes(c.dtype, cache.num_elements())), '\xa5');
  const Operand keys(before, c.dtype, cache, device);
  const Operand values(before, c.dtype, cache, device);
  const Operand k(random_bytes(c.dtype, c.rows(0).num_elements(), 1), c.dtype, c.rows(0), device);
  const Operand v(random_bytes(c.dtype, c.rows(8).num_elements(), 2), c.dtype, c.rows(8), device);
  const auto heads = [&](const Operand& x) {
    return x.view().reshape({c.num_tokens, c.num_heads, c.head_dim + c.gap_of_heads}).slice(2, 0, c.head_dim);
  };
  write_kv({keys.view().reshape(c.cache_shape()), values.view().reshape(c.cache_shape())}, heads(k), heads(v),
           on_device(int64_tensor(slots), device), stream);
  stream.synchronize();
  std::vector<char> all = keys.bytes();
  const std::vector<char> value_bytes = values.bytes();
  all.insert(all.end(), value_bytes.begin(), value_bytes.end());
  return all;
}

// Slots of a shuffled cache, no two equal; some are padding.
std::vector<int64_t> some_slots(const Case& c) {
  std::vector<int64_t> slots(static_cast<size_t>(c.num_blocks * c.block_size));
  std::iota(slots.begin(), slots.end(), 0);
  std::mt19937 rng(7);
  std::shuffle(slots.begin(), slots.end(), rng);
  slots.resize(static_cast<size_t>(c.num_tokens));
  for (size_t i = 1; i < slots.size(); i += 5) slots[i] = -1;
  return slots;
}

TEST_F(WriteKvCuda, StoresLikeTheCpu) {
  for (const DType dtype : kFloatDTypes) {
    for (const Case& c :
         {Case{dtype, 7, 1, 1, 1, 3}, Case{dtype, 7, 3, 3, 5, 11}, Case{dtype, 7, 3, 16, 5, 50, 0, 3},
          Case{dtype, 9, 2, 16, 64, 1}, Case{dtype, 9, 2, 16, 64, 100, 1}, Case{dtype, 9, 2, 16, 64, 100, 0, 5},
          Case{dtype, 9, 2, 16, 64, 100, 8, 128}, Case{dtype, 9, 4, 16, 24, 100, 0, 8},
          Case{dtype, 9, 4, 16, 20, 100, 0, 8}, Case{dtype, 9, 3, 8, 16, 70, 0, 0, 8},
          Case{dtype, 9, 3, 8, 16, 70, 0, 0, 1}, Case{dtype, 20, 8, 64, 128, 1000, 0, 4096},
          Case{dtype, 9000, 1, 16, 4, 140000}, Case{dtype, 2, 70, 4, 256, 8}, Case{dtype, 2, 1, 4, 8, 0}}) {
      SCOPED_TRACE(name_of(c.rows(0), dtype) + ", heads of " + std::to_string(c.head_dim));
      const std::vector<int64_t> slots = some_slots(c);
      EXPECT_TRUE(run(c, slots, cuda()) == run(c, slots, cpu()));
    }
  }
}

TEST_F(WriteKvCuda, RefusesTensorsOfAnotherDevice) {
  const Tensor cache(DType::kF32, {2, 1, 4, 8}, kCuda);
  const Tensor k(DType::kF32, {1, 1, 8}, kCuda);
  const Tensor slots = int64_tensor({0});
  EXPECT_THROW(write_kv({cache, cache}, k, k, slots, cuda()), CheckError);
  EXPECT_THROW(write_kv({cache, cache}, k, k, slots, cpu()), CheckError);
}

}  // namespace
}  // namespace cohort
