// A row's sums and its RMSNorm on the CPU, which the norms of rows and of heads share. Internal to this folder.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/vector_math.h"

namespace cohort::cpu {

// sum = f(i, extent, sum) for the vectors of a row, vector k going to the k % 4-th of four sums:
// element i is summed in lane i % 32, and the lanes in a fixed tree. Four sums hide the latency of
// the adder.
template <typename F>
float sum_row(int64_t n, F&& f) {
  Float8 sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) sums[k] = f(i + k * kLanes, Whole(), sums[k]);
  }
  int k = 0;
  for_each_vector(n - i, [&](int64_t j, auto extent) {
    sums[k] = f(i + j, extent, sums[k]);
    ++k;
  });
  return sum_of8((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// out may be x.
template <typename T>
void rms_norm_row(T* out, const T* x, const float* weight, int64_t hidden, float eps) {
  const float squares = sum_row(hidden, [&](int64_t i, auto extent, Float8 sum) {
    const Float8 v = load8(x + i, extent);
    return fma8(v, v, sum);
  });
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(hidden) + eps);
  for_each_vector(hidden, [&](int64_t i, auto extent) {
    store8(out + i, load8(x + i, extent) * scale * load8(weight + i, extent), extent);
  });
}

}  // namespace cohort::cpu
