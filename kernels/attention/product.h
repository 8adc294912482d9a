// The small dense products inside of attention: scores of a run, and probabilities times values.
#pragma once

#include <cstdint>

#include "kernels/activation/vector_math.h"

namespace cohort {

// Rows become columns.
inline void transpose8(Float8 (&x)[8]) {
  Float8 a[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = __builtin_shufflevector(x[2 * i], x[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[2 * i + 1] = __builtin_shufflevector(x[2 * i], x[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  Float8 b[8];
  for (int i = 0; i < 8; i += 4) {
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    x[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// One block of add_product(), held in registers.
template <int kRows, int kVectors>
void add_product_block(float* c, int64_t c_stride, const float* a, int64_t a_stride, const float* b,
                       int64_t b_stride, int64_t depth) {
  Float8 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load8(c + r * c_stride + v * kLanes);
  }
  for (int64_t i = 0; i < depth; ++i) {
    Float8 row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = load8(b + i * b_stride + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Float8 factor = splat8(a[r * a_stride + i]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma8(factor, row[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store8(c + r * c_stride + v * kLanes, sum[r][v]);
  }
}

// kRows rows of add_product(), with as many sums under way as hide the latency of a fused
// multiply-add.
template <int kRows>
void add_product_rows(float* c, int64_t c_stride, const float* a, int64_t a_stride, const float* b,
                      int64_t b_stride, int64_t depth, int64_t num_vectors) {
  constexpr int kVectors = 8 / kRows;
  int64_t v = 0;
  for (; v + kVectors <= num_vectors; v += kVectors) {
    add_product_block<kRows, kVectors>(c + v * kLanes, c_stride, a, a_stride, b + v * kLanes,
                                       b_stride, depth);
  }
  for (; v < num_vectors; ++v) {
    add_product_block<kRows, 1>(c + v * kLanes, c_stride, a, a_stride, b + v * kLanes, b_stride,
                                depth);
  }
}

// c [num_rows, num_vectors * 8] += a [num_rows, depth] * b [depth, num_vectors * 8]. Every element
// is one chain of fused multiply-adds over the depth in order, whatever the sizes: that is why a
// query's bits are the same in every tile.
inline void add_product(float* c, int64_t c_stride, const float* a, int64_t a_stride,
                        const float* b, int64_t b_stride, int64_t num_rows, int64_t depth,
                        int64_t num_vectors) {
  int64_t r = 0;
  for (; r + 4 <= num_rows; r += 4) {
    add_product_rows<4>(c + r * c_stride, c_stride, a + r * a_stride, a_stride, b, b_stride, depth,
                        num_vectors);
  }
  for (; r < num_rows; ++r) {
    add_product_rows<1>(c + r * c_stride, c_stride, a + r * a_stride, a_stride, b, b_stride, depth,
                        num_vectors);
  }
}

}  // namespace cohort
