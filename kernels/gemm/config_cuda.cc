// Policy: which kernel, and how it cuts the product. Measured with gemm_cuda_bench.
#include <algorithm>

#include "kernels/gemm/gemm_cuda.h"

namespace cohort::gemm_internal {
namespace {

constexpr int kMaxStages = 32;                        // of a ring
constexpr int64_t kMaxSkinnySize = int64_t{1} << 30;  // its indices have 32 bits

constexpr int64_t kMinSkinnyColumns = 4096;
constexpr int64_t kMaxRowsOfSmallWeights = 32;
constexpr int64_t kSmallWeights = int64_t{1} << 24;

// Of 227 KiB that a block may have; the rest is for a small kernel, such as a norm, that waits beside it.
constexpr int kRingBytes = 204 << 10;

int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }
int round_up(int64_t a, int b) { return ceil_div(a, b) * b; }

// Of strips of equal width, a multiple of `granule`, as many as all blocks take together in the fewest turns.
int wide_columns(int64_t n, int num_blocks, int max_columns, int granule) {
  const int num_turns = ceil_div(n, int64_t{max_columns} * num_blocks);
  return round_up(ceil_div(n, int64_t{num_turns} * num_blocks), granule);
}

}  // namespace

bool can_be_wide(const CudaProblem& problem) {
  return problem.is_hopper && problem.dtype != DType::kF32 && problem.is_aligned && problem.k > 0 &&
         problem.num_rows <= kMaxWideRows && std::max(problem.n, problem.k) <= kMaxSkinnySize;
}

bool can_be_skinny(const CudaProblem& problem) { return can_be_wide(problem) && problem.num_rows <= kMaxSkinnyRows; }

CudaKernel choose_gemm_kernel(const CudaProblem& problem) {
  // cuBLASLt may choose another order of the sums for another number of rows, and knows no tree.
  if (problem.mode == GemmMode::kDeterministic || problem.k == 0) return CudaKernel::kTiled;
  // Microseconds on an H200 of a layer of four products of a 13B model, each followed by a small kernel: of 1, 16 and
  // 32 rows kSkinny 153, 157 and 163, kWide 161, 165 and 165, cuBLASLt 174, 171 and 175; of 64 rows kWide 167, cuBLASLt
  // 182. Few columns a multiprocessor, or many rows of x beside small weights, are slower: 15.6 and cuBLASLt's 13.2 for
  // one row of 2560 columns by 6912, 12.7 and 11.2 for 64 of 4096 by 4096.
  const bool has_wide_strips = problem.n >= kMinSkinnyColumns;
  const bool has_many_rows = problem.num_rows > kMaxRowsOfSmallWeights;
  const bool has_small_weights = problem.n * problem.k <= kSmallWeights;
  const bool is_fast = can_be_wide(problem) && has_wide_strips && !(has_many_rows && has_small_weights);
  if (!is_fast) return CudaKernel::kCublasLt;
  return can_be_skinny(problem) ? CudaKernel::kSkinny : CudaKernel::kWide;
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
  plan.num_stages = std::min(kRingBytes / plan.stage_bytes(), kMaxStages);
  return plan;
}

WidePlan plan_wide_strips(int64_t num_rows, int64_t n, int num_multiprocessors, int num_matrices, int strip_columns,
                          int cluster_size, int x_bytes) {
  WidePlan plan;
  plan.padded_rows = round_up(num_rows, 8);
  plan.num_matrices = num_matrices;
  plan.strip_columns = strip_columns;
  plan.part_columns = round_up(num_matrices == 1 ? (strip_columns + 1) / 2 : strip_columns, 8);
  plan.num_strips = ceil_div(n, strip_columns);
  plan.cluster_size = cluster_size;
  plan.num_clusters = std::min(plan.num_strips, num_multiprocessors / cluster_size);
  const int stored_columns = cluster_size == 2 ? plan.part_columns : strip_columns;
  while (WidePlan::kVecSize << plan.log2_threads_per_row < stored_columns) ++plan.log2_threads_per_row;
  plan.num_x_stages = std::clamp(x_bytes / plan.x_tile_bytes(), 2, kMaxStages);
  plan.num_weight_stages = 0;
  const bool stages_apart = plan.staged_offset() > 0;
  const int other_bytes = plan.given_offset() + plan.given_bytes() + (stages_apart ? plan.staged_bytes() : 0);
  plan.num_weight_stages = std::clamp((kRingBytes - other_bytes) / plan.weight_stage_bytes(), 1, kMaxStages);
  return plan;
}

WidePlan plan_wide(int64_t num_rows, int64_t n, int num_multiprocessors) {
  constexpr int kMaxColumns = 2 * WidePlan::kMaxPartColumns;
  constexpr int kMinColumns = 96;  // of a block that shares its strip with none
  const bool has_turns = n > int64_t{kMaxColumns} * num_multiprocessors;
  // In turns sums are staged beside the ring, and take less of it where strips are narrower.
  const int columns = wide_columns(n, num_multiprocessors, has_turns ? kMaxColumns / 2 : kMaxColumns, 8);
  if (columns >= kMinColumns || num_multiprocessors == 1) {
    return plan_wide_strips(num_rows, n, num_multiprocessors, 1, columns, 1, 40 << 10);
  }
  const int shared_columns = wide_columns(n, num_multiprocessors / 2, kMaxColumns, 16);
  return plan_wide_strips(num_rows, n, num_multiprocessors, 1, shared_columns, 2, 64 << 10);
}

WidePlan plan_wide_gated(int64_t num_rows, int64_t n, int num_multiprocessors) {
  const bool has_turns = n > int64_t{WidePlan::kMaxPartColumns} * num_multiprocessors;
  const int max_columns = has_turns ? WidePlan::kMaxPartColumns / 2 : WidePlan::kMaxPartColumns;
  return plan_wide_strips(num_rows, n, num_multiprocessors, 2, wide_columns(n, num_multiprocessors, max_columns, 8), 1,
                          40 << 10);
}

TileSize choose_tile_size(int64_t num_rows) {
  if (num_rows <= 8) return TileSize::k32x8;
  return num_rows <= 64 ? TileSize::k32x32 : TileSize::k64x64;
}

}  // namespace cohort::gemm_internal
