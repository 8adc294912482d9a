// The CUDA backend behind gemm.h, and its policy, which needs no CUDA. Internal to this folder, its tests and benches.
//
// Weights are plain [n, k], so that every kernel reads the same bytes.
#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace cohort::gemm_internal {

enum class CudaKernel {
  kCublasLt,
  kSkinny,  // up to kMaxSkinnyRows rows of 16-bit elements, aligned, on Hopper: reads the weights once
  kTiled,   // any shape, dtype and alignment; sums in the canonical order
};

inline constexpr int64_t kMaxSkinnyRows = 64;

struct CudaProblem {
  int64_t num_rows = 0;
  int64_t n = 0;
  int64_t k = 0;
  DType dtype = DType::kF32;
  GemmMode mode = GemmMode::kFast;
  bool is_aligned = false;  // rows of x and of the weight begin at multiples of 16 bytes
  bool is_hopper = false;   // build and device have the instructions of sm_90a
};

bool can_be_skinny(const CudaProblem& problem);

CudaKernel choose_gemm_kernel(const CudaProblem& problem);

inline constexpr int kSkinnyColumns = 64;        // of the product that tensor cores compute at once
inline constexpr int kSkinnyBlockK = 64;         // elements of K that are loaded together: 128 bytes of a row
inline constexpr int kSkinnyBlocksPerStage = 2;  // of K, each with sums of its own
inline constexpr int kMaxSkinnyStages = 32;

// How the skinny kernel cuts a product: into strips of columns, which blocks take in turn; what a block has of K at a
// time is a stage in shared memory.
struct SkinnyPlan {
  int padded_rows = 0;    // of x: 8, 16, 32 or 64
  int strip_columns = 0;  // of the product; at most kSkinnyColumns
  int num_strips = 0;
  int num_blocks = 0;
  int num_stages = 0;

#if defined(__CUDACC__)
#define COHORT_HOST_DEVICE __host__ __device__
#else
#define COHORT_HOST_DEVICE
#endif
  COHORT_HOST_DEVICE int weight_tile_bytes() const { return (strip_columns + 7) / 8 * 8 * kSkinnyBlockK * 2; }
  COHORT_HOST_DEVICE int x_tile_bytes() const { return padded_rows * kSkinnyBlockK * 2; }
  COHORT_HOST_DEVICE int stage_bytes() const { return kSkinnyBlocksPerStage * (weight_tile_bytes() + x_tile_bytes()); }
  // Products read kSkinnyColumns columns, of the last stage beyond its end.
  COHORT_HOST_DEVICE int smem_bytes() const {
    return num_stages * stage_bytes() + kSkinnyColumns * kSkinnyBlockK * 2 - weight_tile_bytes();
  }
#undef COHORT_HOST_DEVICE
};
SkinnyPlan plan_skinny(int64_t num_rows, int64_t n, int num_multiprocessors);

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

gemm_internal::CudaProblem problem_of(const ConstTensorView& x, const PackedWeight& weight, const Stream& stream);

// gemm() by one kernel, so that a test can force it. kSkinny requires that can_be_skinny().
void run_gemm(gemm_internal::CudaKernel kernel, TensorView out, ConstTensorView x, const PackedWeight& weight,
              ConstTensorView bias, Stream& stream);

}  // namespace cohort::cuda
