// The values behind random.h, one function of a tensor's key and an element's index for both devices, and where the
// elements of a slice are. Internal to this folder.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/tensor.h"
#include "kernels/random/random.h"

#ifdef __CUDACC__
#define COHORT_HOST_DEVICE __host__ __device__
#else
#define COHORT_HOST_DEVICE
#endif

namespace cohort {

inline constexpr int kNumRandomLevels = 4 * 255 + 1;  // of the sum of four bytes

COHORT_HOST_DEVICE inline uint64_t mix64(uint64_t x) {  // the finalizer of SplitMix64 (Steele et al., 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Of the elements [high * 2^32, (high + 1) * 2^32) of a tensor.
struct RandomBlockKey {
  uint32_t first, second;
};

COHORT_HOST_DEVICE inline RandomBlockKey random_block_key(uint64_t tensor_key, uint64_t high) {
  const uint64_t mixed = mix64(tensor_key + high);
  return {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
}

// The sum of the four bytes of a hash of `counter`: 0 to kNumRandomLevels - 1. 32-bit operations only, so that a loop
// over it vectorises with AVX2. The mixing is lowbias32 of Chris Wellons ("Prospecting for hash functions", 2018), with
// half of the key put in before and half in the middle, so that no two tensors are permutations of each other.
COHORT_HOST_DEVICE inline uint32_t random_level(uint32_t counter, RandomBlockKey key) {
  uint32_t x = counter ^ key.first;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = ((x + key.second) ^ (x >> 15)) * 0x846ca68bu;
  x ^= x >> 16;
  const uint32_t pairs = (x & 0x00ff00ffu) + ((x >> 8) & 0x00ff00ffu);
  return (pairs & 0xffffu) + (pairs >> 16);
}

// How a level becomes a value. The product and the sum are rounded one after the other on every device.
struct RandomScale {
  float mean;
  float step;  // between levels

  explicit RandomScale(RandomDistribution distribution)
      : mean(distribution.mean),
        step(distribution.stddev / std::sqrt(4 * (256.0f * 256.0f - 1) / 12)) {
  }  // a uniform byte's variance is 1/12 of that

  COHORT_HOST_DEVICE float value(uint32_t level) const {
    const auto steps = static_cast<float>(static_cast<int>(level) - kNumRandomLevels / 2);
#ifdef __CUDA_ARCH__
    return __fadd_rn(mean, __fmul_rn(steps, step));
#else
    return mean + steps * step;
#endif
  }
};

// The dense runs of a slice, along its last dimension.
struct RandomRuns {
  int64_t num_runs = 1;
  int64_t run_elements = 1;
  int num_outer_dims = 0;
  int64_t outer_dims[Shape::kMaxRank] = {};     // of the slice
  int64_t out_strides[Shape::kMaxRank] = {};    // in its memory
  int64_t index_strides[Shape::kMaxRank] = {};  // in the whole tensor
  uint64_t first_index = 0;                     // of its first element, in the whole tensor

  RandomRuns(const TensorView& out, const Shape& shape, int dim, int64_t begin) {
    if (shape.rank() == 0) return;
    num_outer_dims = shape.rank() - 1;
    run_elements = out.dim(num_outer_dims);
    int64_t stride = 1;
    for (int i = num_outer_dims; i >= 0; --i) {
      if (i == dim) first_index = static_cast<uint64_t>(begin * stride);
      if (i < num_outer_dims) {
        num_runs *= out.dim(i);
        outer_dims[i] = out.dim(i);
        out_strides[i] = out.stride(i);
        index_strides[i] = stride;
      }
      stride *= shape[i];
    }
  }

  struct Run {
    int64_t offset;  // in the slice's memory, in elements
    uint64_t index;  // in the whole tensor
  };
  COHORT_HOST_DEVICE Run run(int64_t i) const {
    Run found{0, first_index};
    for (int dim = num_outer_dims - 1; dim >= 0; --dim) {
      const int64_t at = i % outer_dims[dim];
      i /= outer_dims[dim];
      found.offset += at * out_strides[dim];
      found.index += static_cast<uint64_t>(at * index_strides[dim]);
    }
    return found;
  }
};

}  // namespace cohort
