// The small dense products inside of attention: scores of a run, and probabilities times values.
#pragma once

#include <cstdint>

#include "kernels/core/vector_math.h"

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

// A packed matrix [depth, 16 num_panels]: panels of 16 columns one after the other, each [depth,
// 16], so that a block of the product reads it in order.
inline constexpr int64_t kPanelColumns = 2 * kLanes;

// One block of add_product(), held in registers.
template <int kRows, int kVectors>
void add_product_block(float* c, int64_t c_stride, const float* a, int64_t a_stride, const float* b,
                       int64_t panel_stride, int64_t depth) {
  Float8 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sum[r][v] = load8(c + r * c_stride + v * kLanes);
  }
  const auto vector = [&](int64_t i, int v) {
    return load8(b + v / 2 * panel_stride + i * kPanelColumns + v % 2 * kLanes);
  };
  for (int64_t i = 0; i < depth; ++i) {
    // The shorter side is held, the longer passes by: both do not fit.
    if constexpr (kRows > kVectors) {
      Float8 x[kVectors];
      for (int v = 0; v < kVectors; ++v) x[v] = vector(i, v);
      for (int r = 0; r < kRows; ++r) {
        const Float8 factor = splat8(a[r * a_stride + i]);
        for (int v = 0; v < kVectors; ++v) sum[r][v] = fma8(factor, x[v], sum[r][v]);
      }
    } else {
      Float8 factor[kRows];
      for (int r = 0; r < kRows; ++r) factor[r] = splat8(a[r * a_stride + i]);
      for (int v = 0; v < kVectors; ++v) {
        const Float8 x = vector(i, v);
        for (int r = 0; r < kRows; ++r) sum[r][v] = fma8(factor[r], x, sum[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store8(c + r * c_stride + v * kLanes, sum[r][v]);
  }
}

// Where the operands of a product are; see add_product().
struct Product {
  float* c;
  int64_t c_stride;
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t panel_stride;
  int64_t depth;

  template <int kRows, int kVectors>
  void block(int64_t row, int64_t vector) const {
    add_product_block<kRows, kVectors>(c + row * c_stride + vector * kLanes, c_stride, a + row * a_stride, a_stride,
                                       b + vector / 2 * panel_stride, panel_stride, depth);
  }

  // All columns of kRows rows, kVectors vectors at a time.
  template <int kRows, int kVectors>
  void rows(int64_t row, int64_t num_vectors) const {
    int64_t v = 0;
    for (; v + kVectors <= num_vectors; v += kVectors) block<kRows, kVectors>(row, v);
    for (; v + 2 <= num_vectors; v += 2) block<kRows, 2>(row, v);
    if (v < num_vectors) block<kRows, 1>(row, v);
  }
};

// c [num_rows, num_vectors * 8] += a [num_rows, depth] * b, b packed with panel_stride elements a
// panel. Every element is one chain of fused multiply-adds over the depth in order, whatever the
// sizes: that is why a query's bits are the same in every tile. The sizes of the blocks are such
// that 8 to 12 sums are under way, which hides the latency of a fused multiply-add.
inline void add_product(const Product& p, int64_t num_rows, int64_t num_vectors) {
  const int64_t num_whole = num_rows / 6 * 6;
  int64_t v = 0;
  for (; v + 2 <= num_vectors; v += 2) {  // a panel stays in the cache for all rows
    for (int64_t r = 0; r < num_whole; r += 6) p.block<6, 2>(r, v);
  }
  if (v < num_vectors) {
    for (int64_t r = 0; r < num_whole; r += 6) p.block<6, 1>(r, v);
  }
  switch (num_rows - num_whole) {
    case 5:
      p.rows<3, 4>(num_whole, num_vectors);
      p.rows<2, 4>(num_whole + 3, num_vectors);
      break;
    case 4:
      p.rows<4, 2>(num_whole, num_vectors);
      break;
    case 3:
      p.rows<3, 4>(num_whole, num_vectors);
      break;
    case 2:
      p.rows<2, 4>(num_whole, num_vectors);
      break;
    case 1:
      p.rows<1, 8>(num_whole, num_vectors);
      break;
    default:
      break;
  }
}

}  // namespace cohort
