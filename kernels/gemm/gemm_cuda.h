// The CUDA backend behind gemm.h, and its policy, which needs no CUDA. Internal to this folder, its tests and benches.
//
// Weights are plain [n, k], so that every kernel reads the same bytes.
#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace cohort::gemm_internal {

enum class CudaKernel {
  kCublasLt,
  kSkinny,  // up to kMaxSkinnyRows rows of 16-bit elements, aligned: reads the weights once; for the bench, until it
            // wins
  kTiled,   // any shape, dtype and alignment; sums in the canonical order
};

// Rows of x that fill an mma beside the weights.
inline constexpr int64_t kMaxSkinnyRows = 8;

struct CudaProblem {
  int64_t num_rows = 0;
  int64_t n = 0;
  int64_t k = 0;
  DType dtype = DType::kF32;
  GemmMode mode = GemmMode::kFast;
  bool is_aligned = false;  // rows of x and of the weight begin at multiples of 16 bytes
};

CudaKernel choose_gemm_kernel(const CudaProblem& problem);

// How many columns of the product, 16 or 32, a block of the skinny kernel computes. It does not depend on the rows of
// x, and so the bits of a row do not within this kernel.
int choose_skinny_columns(int64_t n, int num_multiprocessors);

// The block of the tiled kernel for 16-bit elements. All sum in one order.
enum class TileSize { k32x8, k32x32, k64x64 };  // columns of the product x rows
TileSize choose_tile_size(int64_t num_rows);

}  // namespace cohort::gemm_internal

namespace cohort::cuda {

// Arguments are checked and not empty. Throw CheckError in a build without CUDA.
void pack_weight(void* packed, DType dtype, ConstTensorView weight, WeightLayout layout, Stream& stream);
void gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream);
void prepare_gemm(Stream& stream);
void autotune_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream);

// gemm() by one kernel, so that a test can force it. kSkinny requires 16-bit elements, rows of x and weight at
// multiples of 16 bytes, and at most kMaxSkinnyRows of them.
void run_gemm(gemm_internal::CudaKernel kernel, TensorView out, ConstTensorView x, const PackedWeight& weight,
              ConstTensorView bias, Stream& stream);

}  // namespace cohort::cuda
