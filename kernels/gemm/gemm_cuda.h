// The CUDA backend behind gemm.h, and its policy, which needs no CUDA. Internal to this folder, its tests and benches.
//
// Weights are plain [n, k], so that every kernel reads the same bytes.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/gemm/gemm.h"

namespace cohort::gemm_internal {

enum class CudaKernel {
  kCublasLt,
  kSkinny,  // up to kMaxSkinnyRows rows of 16-bit elements, aligned, on Hopper: reads the weights once
  kWide,    // likewise, up to kMaxWideRows rows
  kTiled,   // any shape, dtype and alignment; sums in the canonical order
};

inline constexpr int kMaxSkinnyRows = 32;
inline constexpr int kMaxWideRows = 64;

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
bool can_be_wide(const CudaProblem& problem);

CudaKernel choose_gemm_kernel(const CudaProblem& problem);

inline constexpr int kSkinnyColumns = 64;        // of the product that tensor cores compute at once
inline constexpr int kSkinnyBlockK = 64;         // elements of K that are loaded together: 128 bytes of a row
inline constexpr int kSkinnyBlocksPerStage = 2;  // of K, each with sums of its own

#if defined(__CUDACC__)
#define COHORT_HOST_DEVICE __host__ __device__
#else
#define COHORT_HOST_DEVICE
#endif

// How the skinny kernel cuts a product: into strips of columns, which blocks take in turn; what a block has of K at a
// time is a stage in shared memory.
struct SkinnyPlan {
  int padded_rows = 0;    // of x: 8, 16 or 32
  int strip_columns = 0;  // of the product; at most kSkinnyColumns
  int num_strips = 0;
  int num_blocks = 0;
  int num_stages = 0;

  COHORT_HOST_DEVICE int weight_tile_bytes() const { return (strip_columns + 7) / 8 * 8 * kSkinnyBlockK * 2; }
  COHORT_HOST_DEVICE int x_tile_bytes() const { return padded_rows * kSkinnyBlockK * 2; }
  COHORT_HOST_DEVICE int stage_bytes() const { return kSkinnyBlocksPerStage * (weight_tile_bytes() + x_tile_bytes()); }
  // Products read kSkinnyColumns columns, of the last stage beyond its end.
  COHORT_HOST_DEVICE int smem_bytes() const {
    return num_stages * stage_bytes() + kSkinnyColumns * kSkinnyBlockK * 2 - weight_tile_bytes();
  }
};
SkinnyPlan plan_skinny(int64_t num_rows, int64_t n, int num_multiprocessors);

// How the wide kernel cuts a product: into strips of columns, each of two parts, which clusters of blocks take in turn.
// The two blocks of a cluster share a strip's K. Weights and x have a ring of stages each, of kSkinnyBlockK of K.
struct WidePlan {
  static constexpr int kVecSize = 8;           // columns that are stored together
  static constexpr int kMaxPartColumns = 128;  // that a warpgroup has sums of, twice
  static constexpr int kTileBytes = kMaxWideRows * kSkinnyBlockK * 2;

  int padded_rows = 0;    // of x: a multiple of 8
  int num_matrices = 1;   // of weights that a column has a row of: two where one gates the other
  int strip_columns = 0;  // of the result
  int part_columns = 0;   // of the first part of a strip, or of each matrix: a multiple of 8
  int num_strips = 0;
  int cluster_size = 1;  // 1, or 2 where a cluster has one strip and there is one matrix
  int num_clusters = 0;
  int num_weight_stages = 0;
  int num_x_stages = 0;
  int log2_threads_per_row = 0;  // of those that store

  // The columns of a part that are multiplied, of the numbers of columns that the kernel is built for.
  COHORT_HOST_DEVICE int multiplied_columns() const {
    if (num_matrices == 2) return kMaxPartColumns;
    return part_columns <= 40 ? 40 : part_columns <= 64 ? 64 : kMaxPartColumns;
  }
  COHORT_HOST_DEVICE int matrix_tile_bytes() const { return (strip_columns + 7) / 8 * 8 * kSkinnyBlockK * 2; }
  COHORT_HOST_DEVICE int weight_stage_bytes() const { return num_matrices * matrix_tile_bytes(); }
  COHORT_HOST_DEVICE int x_tile_bytes() const { return padded_rows * kSkinnyBlockK * 2; }
  // Where x begins, behind the weights.
  COHORT_HOST_DEVICE int x_offset() const { return num_weight_stages * weight_stage_bytes(); }
  // Where sums begin that the other block of a cluster gives. Products read tiles of up to kTileBytes, of the last
  // stage beyond its end.
  COHORT_HOST_DEVICE int given_offset() const {
    return x_offset() + num_x_stages * x_tile_bytes() + kTileBytes - x_tile_bytes();
  }
  COHORT_HOST_DEVICE int given_bytes() const {
    return cluster_size == 2 ? multiplied_columns() * static_cast<int>(kMaxWideRows * sizeof(float)) : 0;
  }
  // Where a strip's sums are staged before they are stored: over the ring, unless that has more to load.
  COHORT_HOST_DEVICE int staged_offset() const {
    return num_strips > num_clusters ? given_offset() + given_bytes() : 0;
  }
  // Floats from row to row, so that what a warp writes lies in different banks.
  COHORT_HOST_DEVICE int staged_stride() const {
    const int columns = cluster_size == 2 ? multiplied_columns() : part_columns + multiplied_columns();
    return (columns + 31) / 32 * 32 + 8;
  }
  COHORT_HOST_DEVICE int staged_bytes() const {
    return kMaxWideRows * staged_stride() * static_cast<int>(sizeof(float));
  }
  COHORT_HOST_DEVICE int smem_bytes() const {
    const int end = given_offset() + given_bytes();
    return num_strips > num_clusters || end < staged_bytes() ? staged_offset() + staged_bytes() : end;
  }
};
#undef COHORT_HOST_DEVICE

WidePlan plan_wide(int64_t num_rows, int64_t n, int num_multiprocessors);
// Of gemm_gated()'s result, of n columns: half as many as the weights have rows.
WidePlan plan_wide_gated(int64_t num_rows, int64_t n, int num_multiprocessors);
// Of strips of so many columns, with about so many bytes of x in shared memory.
WidePlan plan_wide_strips(int64_t num_rows, int64_t n, int num_multiprocessors, int num_matrices, int strip_columns,
                          int cluster_size, int x_bytes);

// The block of the tiled kernel for 16-bit elements. All sum in one order.
enum class TileSize { k32x8, k32x32, k64x64 };  // columns of the product x rows
TileSize choose_tile_size(int64_t num_rows);

}  // namespace cohort::gemm_internal

namespace cohort::cuda {

// Arguments are checked and not empty. Throw CheckError in a build without CUDA.
void pack_weight(void* packed, DType dtype, ConstTensorView weight, WeightLayout layout, Stream& stream);
void gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream);
// gemm_gated() as one kernel; false, and nothing done, where that is not what is fastest.
bool try_gemm_gated(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                    Activation activation, Stream& stream);
void prepare_gemm(Stream& stream);
void autotune_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream);

gemm_internal::CudaProblem problem_of(const ConstTensorView& x, const PackedWeight& weight, const Stream& stream);

// gemm() by one kernel, so that a test can force it. kSkinny requires that can_be_skinny().
void run_gemm(gemm_internal::CudaKernel kernel, TensorView out, ConstTensorView x, const PackedWeight& weight,
              ConstTensorView bias, Stream& stream);

}  // namespace cohort::cuda
