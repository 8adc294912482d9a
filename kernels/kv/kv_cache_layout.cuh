// Where CUDA kernels find a slot of the cache. Only for files that are compiled with CUDA.
#pragma once

#include "kernels/core/cuda_vector.cuh"
#include "kernels/kv/kv_cache.h"

namespace cohort::cuda {

// Divisions are of 32 bits, the slow part of finding a place; write_kv() refuses caches that need more.
struct KvCacheLayout {
  int num_heads = 0;
  int block_size = 0;
  int head_dim = 0;
  int num_slots = 0;

  // Fails the stream for a slot that is neither of the cache nor -1, padding.
  __device__ void check(int64_t slot) const { check_on_device(slot >= -1 && slot < num_slots); }

  // Of an element, in keys or values. Requires a slot of the cache.
  __device__ int64_t index(int64_t slot, int head, int column) const {
    const int block = static_cast<int>(slot) / block_size;
    const int offset = static_cast<int>(slot) - block * block_size;
    return ((int64_t{block} * num_heads + head) * block_size + offset) * head_dim + column;
  }
};

inline KvCacheLayout layout_of(const KvCacheView& cache) {
  return {static_cast<int>(cache.num_kv_heads()), static_cast<int>(cache.block_size()),
          static_cast<int>(cache.head_dim()), static_cast<int>(cache.num_blocks() * cache.block_size())};
}

}  // namespace cohort::cuda
