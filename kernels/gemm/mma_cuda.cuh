// Tensor core products of 16-bit elements with float32 sums. Internal; only for files that are compiled with CUDA.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace cohort::gemm_internal {

// sums (4 of a lane, in registers) [16, 8] += a [16, 16] * b [16, 8] of a warp (PTX ISA, "Matrix Fragments for
// mma.m16n8k16"). With group = lane / 4 and pair = 2 * (lane % 4), a lane has of
//   a:    two elements of K each, at pair of rows group and group + 8, then at pair + 8 of the same rows
//   b:    two elements of K each, at pair and at pair + 8 of column group
//   sums: columns pair and pair + 1 of row group, then of row group + 8
__device__ inline void multiply_add(float* sums, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                    uint32_t b1, __nv_bfloat16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ inline void multiply_add(float* sums, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                    uint32_t b1, __half) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

}  // namespace cohort::gemm_internal
