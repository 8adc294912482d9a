// Random values in place of a checkpoint's.
//
// Counter-based, as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011): element i of a tensor is a
// hash of (seed, tensor name, i), so that any part can be made alone, in any order, by any number of threads and on any
// device: the bits are the same everywhere. The values are the sum of four uniform bytes (Irwin-Hall), which is near
// enough to normal, times a standard deviation.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// Of a tensor's values: normal-like with `stddev` around `mean`; constant where stddev is 0.
struct RandomDistribution {
  float mean = 0;
  float stddev = 0;
};

// What a tensor's values depend on besides the place of each in it.
struct RandomValues {
  uint64_t key = 0;  // of random_key
  RandomDistribution distribution;
};

uint64_t random_key(uint64_t seed, std::string_view name);

// Makes part of a tensor: `out`, float32, float16 or bfloat16, whose rows may be strided, is the slice of dimension
// `dim` that begins at index `begin`, of a tensor whose whole shape is `shape`. Requires that the ranks are equal and
// the slice is inside `shape`; dim is 0 for a tensor of rank 0.
void fill_random(TensorView out, const RandomValues& values, const Shape& shape, int dim, int64_t begin,
                 Stream& stream);

}  // namespace cohort
