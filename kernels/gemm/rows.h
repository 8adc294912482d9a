// Rows on their way into a block and out of it. Internal.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace cohort::gemm_internal {

// PackRows functions; see kernels.h.
void pack_rows_f32(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k);
// float16 widened to float32.
void pack_rows_f16(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k);
// bfloat16 widened to float32; of each 32 elements first the 16 at even places, then the 16 at odd
// places.
void pack_rows_bf16_split(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k,
                          int64_t padded_k);
// bfloat16 as it is, with rows of zeros up to a multiple of 16.
void pack_rows_bf16(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k);

// out [n] of `dtype` = sums [n] + bias [n], rounded once. bias is null for none.
void store_row(void* out, DType dtype, const float* sums, const float* bias, int64_t n);

// into [n] += other [n]
void add_row(float* into, const float* other, int64_t n);

}  // namespace cohort::gemm_internal
