// PanelLayout: where an element of a packed weight lies. The one description that packing writes by
// and the kernels read by.
//
// Columns of the product are grouped in panels of 16, one AVX-512 register of float32 or two of
// AVX2, so that every instruction set reads the same bytes. A panel holds its whole K contiguously,
// chunk after chunk, and a product with one row is a walk through memory from end to end. n is
// padded to whole panels with zeros.
//
//   float32, float16:  [panel, chunk, k, 16]
//   bfloat16:          [panel, chunk, k / 2, 16, 2], each chunk padded with zeros to whole groups
//   of 32
//
// The pairs are what TDPBF16PS and VDPBF16PS take, and 32 is what one TDPBF16PS sums.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace cohort::gemm_internal {

inline constexpr int64_t kPanelWidth = 16;
inline constexpr int64_t kPairGroup = 32;

constexpr int64_t round_up(int64_t value, int64_t granule) { return (value + granule - 1) / granule * granule; }

struct PanelLayout {
  int64_t num_panels = 0;
  int64_t chunk_k = 0;         // elements of K in a chunk
  int64_t padded_chunk_k = 0;  // the same with padding
  int64_t panel_elements = 0;
  bool is_paired = false;

  constexpr PanelLayout(int64_t n, int64_t k, int num_chunks, DType dtype)
      : num_panels(round_up(n, kPanelWidth) / kPanelWidth),
        chunk_k(k / num_chunks),
        padded_chunk_k(dtype == DType::kBF16 ? round_up(chunk_k, kPairGroup) : chunk_k),
        panel_elements(num_chunks * padded_chunk_k * kPanelWidth),
        is_paired(dtype == DType::kBF16) {}

  constexpr int64_t num_elements() const { return num_panels * panel_elements; }

  // Of the first of the 16 columns at element `k` of a chunk.
  constexpr int64_t offset(int64_t panel, int64_t chunk, int64_t k) const {
    const int64_t row = chunk * padded_chunk_k + k;
    const int64_t begin = panel * panel_elements;
    if (!is_paired) return begin + row * kPanelWidth;
    return begin + row / 2 * (2 * kPanelWidth) + row % 2;
  }
  // From one column to the next.
  constexpr int64_t column_stride() const { return is_paired ? 2 : 1; }
};

}  // namespace cohort::gemm_internal
