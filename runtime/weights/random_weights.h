// Random values in place of a checkpoint's, for benchmarks and tests of models that are not at
// hand.
//
// Counter-based, as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011): element
// i of a tensor is a hash of (seed, tensor name, i), so that any part can be made alone, in any
// order and by any number of threads. The values are the sum of four uniform bytes (Irwin-Hall),
// which is near enough to normal, times a standard deviation. The same on every machine.
//
// Pure functions: thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"
#include "kernels/core/tensor.h"

namespace cohort {

// The distribution of a tensor's values: normal-like with `stddev` around `mean`; constant where
// stddev is 0.
struct RandomDistribution {
  float mean = 0;
  float stddev = 0;
};

// Such that activations stay sane, by the names that Hugging Face uses:
//   biases (rank 1 and "...bias" or "...beta")                     0
//   other vectors, which are norm weights                          1
//   embeddings ("embed", "wte", "wpe", "shared", and T5's
//   "relative_attention_bias" in the name)                         stddev 0.02, as GPT-2 is
//   initialised other matrices                                                 stddev 1 / sqrt(last
//   dimension), the fan-in of a Linear
RandomDistribution random_distribution(std::string_view name, const Shape& shape);

// Makes part of the tensor `name`: `out`, host memory of float32, float16 or bfloat16 that may be
// strided, is the slice of dimension `dim` that begins at index `begin`, of a tensor whose whole
// shape is `shape`. Makes the indices [row_begin, row_end) of the outermost dimension of `out`
// only, so that threads can share the work. Requires that the ranks are equal and the slice is
// inside `shape`.
void fill_random(const TensorView& out, uint64_t seed, std::string_view name, const Shape& shape, int dim,
                 int64_t begin, int64_t row_begin, int64_t row_end);

}  // namespace cohort
