// What tests of attention on the CPU and on CUDA lay out alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "tests/op/op_test.h"

namespace cohort::test {

struct Heads {
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
};

// Queries [begin, end) of sequence `id`; positions [0, end) are in the cache. From -1 to 0 it fills a batch up.
struct Chunk {
  uint32_t id;
  int64_t begin;
  int64_t end;
};

// Block tables [chunks, max_blocks] over `num_blocks` blocks in an order that `shuffle` says; what no position needs is
// no block, -1.
inline Tensor shuffled_tables(const std::vector<Chunk>& chunks, int64_t block_size, int64_t num_blocks,
                              int64_t max_blocks, uint32_t shuffle) {
  std::vector<int32_t> order(static_cast<size_t>(num_blocks));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(shuffle));
  Tensor tables(DType::kI32, {static_cast<int64_t>(chunks.size()), max_blocks});
  std::fill_n(tables->data<int32_t>(), tables->num_elements(), -1);
  for (size_t seq = 0; seq < chunks.size(); ++seq) {
    int32_t* const table = tables->row<int32_t>(static_cast<int64_t>(seq));
    for (int64_t i = 0; i * block_size < chunks[seq].end; ++i) {
      table[i] = order.back();
      order.pop_back();
    }
  }
  return tables;
}

}  // namespace cohort::test
