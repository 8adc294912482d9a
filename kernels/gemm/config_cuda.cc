// Policy: which kernel, and how it cuts the product. Measured with gemm_cuda_bench.
#include <algorithm>

#include "kernels/gemm/gemm_cuda.h"

namespace cohort::gemm_internal {
namespace {

constexpr int64_t kMaxSkinnySize = int64_t{1} << 30;  // its indices have 32 bits

constexpr int64_t kMinSkinnyColumns = 4096;
constexpr int64_t kMaxRowsOfSmallWeights = 32;
constexpr int64_t kSmallWeights = int64_t{1} << 24;

// Of 227 KiB that a block may have; the rest is for a small kernel, such as a norm, that waits beside it.
constexpr int kRingBytes = 204 << 10;

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

}  // namespace

bool can_be_skinny(const CudaProblem& problem) {
  return problem.is_hopper && problem.dtype != DType::kF32 && problem.is_aligned && problem.k > 0 &&
         problem.num_rows <= kMaxSkinnyRows && std::max(problem.n, problem.k) <= kMaxSkinnySize;
}

CudaKernel choose_gemm_kernel(const CudaProblem& problem) {
  // cuBLASLt may choose another order of the sums for another number of rows, and knows no tree.
  if (problem.mode == GemmMode::kDeterministic || problem.k == 0) return CudaKernel::kTiled;
  // Microseconds on an H200 of a layer of four products, each followed by a small kernel, kSkinny and cuBLASLt: of a
  // 13B model with 1, 16, 64 rows 155, 161, 186 and 176, 174, 197; of half a 70B one 207, 209, 227 and 231, 226, 239.
  // Few columns a multiprocessor, or many rows of x beside small weights, are slower: 15.6 and 13.2 for one row of 2560
  // columns by 6912, 12.7 and 11.2 for 64 of 4096 by 4096.
  const bool has_wide_strips = problem.n >= kMinSkinnyColumns;
  const bool has_many_rows = problem.num_rows > kMaxRowsOfSmallWeights;
  const bool has_small_weights = problem.n * problem.k <= kSmallWeights;
  const bool is_fast = can_be_skinny(problem) && has_wide_strips && !(has_many_rows && has_small_weights);
  return is_fast ? CudaKernel::kSkinny : CudaKernel::kCublasLt;
}

SkinnyPlan plan_skinny(int64_t num_rows, int64_t n, int num_multiprocessors) {
  constexpr int kMinColumns = 8;  // narrower boxes would take as long
  SkinnyPlan plan;
  plan.padded_rows = 8;
  while (plan.padded_rows < num_rows) plan.padded_rows *= 2;
  // Strips of equal width, as many as all multiprocessors take together in the fewest turns.
  const int num_turns = ceil_div(n, int64_t{kSkinnyColumns} * num_multiprocessors);
  plan.strip_columns = std::max(kMinColumns, ceil_div(n, int64_t{num_turns} * num_multiprocessors));
  plan.num_strips = ceil_div(n, plan.strip_columns);
  plan.num_blocks = std::min(plan.num_strips, num_multiprocessors);
  plan.num_stages = std::min(kRingBytes / plan.stage_bytes(), kMaxSkinnyStages);
  return plan;
}

TileSize choose_tile_size(int64_t num_rows) {
  if (num_rows <= 8) return TileSize::k32x8;
  return num_rows <= 64 ? TileSize::k32x32 : TileSize::k64x64;
}

}  // namespace cohort::gemm_internal
