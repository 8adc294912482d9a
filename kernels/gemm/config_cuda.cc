// Policy: which kernel, and how it cuts the product. The thresholds are to be measured with gemm_cuda_bench.
#include "kernels/gemm/gemm_cuda.h"

namespace cohort::gemm_internal {
namespace {

// Fewer columns a block are more blocks, which fill the device better; more columns share the loads of x. Wide blocks
// where there are so many a multiprocessor.
constexpr int64_t kMinWideBlocksPerMultiprocessor = 3;

}  // namespace

CudaKernel choose_gemm_kernel(const CudaProblem& problem) {
  // cuBLASLt may choose another order of the sums for another number of rows, and knows no tree.
  if (problem.mode == GemmMode::kDeterministic || problem.k == 0) return CudaKernel::kTiled;
  if (problem.num_rows <= kMaxSkinnyRows && problem.dtype != DType::kF32 && problem.is_aligned) {
    return CudaKernel::kSkinny;
  }
  return CudaKernel::kCublasLt;
}

int choose_skinny_columns(int64_t n, int num_multiprocessors) {
  return n >= 32 * kMinWideBlocksPerMultiprocessor * num_multiprocessors ? 32 : 16;
}

TileSize choose_tile_size(int64_t num_rows) {
  if (num_rows <= 8) return TileSize::k32x8;
  return num_rows <= 64 ? TileSize::k32x32 : TileSize::k64x64;
}

}  // namespace cohort::gemm_internal
