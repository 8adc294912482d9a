// Policy: which kernel, and how it cuts the product. Measured with gemm_cuda_bench.
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
  // kSkinny is slower at every shape measured so far: microseconds on an H200, kSkinny and cuBLASLt, for one row of k x
  // n 5120 x 15360: 46.9, 38.7; 5120 x 5120: 15.7, 15.0; 5120 x 27648: 75.4, 67.6; 13824 x 5120: 40.6, 38.9.
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
