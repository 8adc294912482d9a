// Products of experts for many rows, as in prefill. A block has a tile of columns and rows of one expert, which it
// finds by its number; a thread asks for operands through a ring of stages in shared memory, and two warpgroups
// multiply, each half of the columns: the weights are the first operand of products, x the second. Blocks that follow
// each other have the same columns, so that weights are read once.
#include <cstdint>

#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/gemm/ring_cuda.cuh"
#include "kernels/moe/gate_cuda.cuh"
#include "kernels/moe/products_cuda.h"
#include "kernels/moe/weight_map_cuda.cuh"

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#pragma nv_diag_suppress 177  // for other devices the kernel is empty, and nothing uses its parts
#endif

namespace cohort::cuda {
namespace {

constexpr int kNumWarpgroups = 2;  // that multiply; then a warp loads
constexpr int kNumThreads = kNumWarpgroups * kWarpgroupThreads + 32;
constexpr int kBlockK = 64;          // of a stage: 128 bytes of a row
constexpr int kProductColumns = 64;  // of the product that tensor cores compute at once
constexpr int kProducts = 2;         // of a warpgroup, beside each other
constexpr int kTileColumns = kNumWarpgroups * kProducts * kProductColumns;
constexpr int kBoxRows = 64;
constexpr int kTileRows = 2 * kBoxRows;
constexpr int kWeightTileBytes = kTileColumns * kRowBytes;
constexpr int kBoxBytes = kBoxRows * kRowBytes;
constexpr int kStageBytes = kWeightTileBytes + kTileRows * kRowBytes;
constexpr int kNumStages = 4;
constexpr int kNumSmemBytes = kNumStages * kStageBytes + kGroupBytes;

struct WideArgs {
  void* out;                  // [num_rows, n]
  const int32_t* first_rows;  // [num_experts + 1]
  int num_experts;
  int n;
  int num_groups;  // of columns
  int num_steps;   // along K, of a stage each
  Activation activation;
};

// What a block has to do.
struct Work {
  int expert = -1;  // -1 for nothing
  int first_row = 0;
  int num_rows = 0;  // at most kTileRows

  __device__ explicit Work(const WideArgs& args) {
    int tile = static_cast<int>(blockIdx.x);
    int first = args.first_rows[0];
    for (int e = 0; e < args.num_experts; ++e) {
      const int end = args.first_rows[e + 1];
      const int num_tiles = (end - first + kTileRows - 1) / kTileRows;
      if (tile < num_tiles) {
        expert = e;
        first_row = first + tile * kTileRows;
        num_rows = min(end - first_row, kTileRows);
        return;
      }
      tile -= num_tiles;
      first = end;
    }
  }
};

__device__ void load_operands(const CUtensorMap& weight_map, const CUtensorMap& x_map, const WideArgs& args,
                              const Work& work, int first_group, Ring ring) {
  const int num_boxes = (work.num_rows + kBoxRows - 1) / kBoxRows;
  for (int step = 0; step < args.num_steps; ++step) {
    const int k = step * kBlockK;
    ring.wait_until_empty();
    ring.full().arrive_and_expect(kWeightTileBytes + num_boxes * kBoxBytes);
    load_box(ring.tiles(), weight_map, ring.full(), {k, 0, 0, first_group, work.expert});
    for (int i = 0; i < num_boxes; ++i) {
      load_box(ring.tiles() + kWeightTileBytes + i * kBoxBytes, x_map, ring.full(), {k, work.first_row + i * kBoxRows});
    }
    ring.advance();
  }
}

// The sums of one of a warpgroup's products go to their columns, from the group `first_group` on.
template <typename T, int kRows, bool kIsGated>
__device__ void store_sums(const float (&sums)[kRows / 2], const WideArgs& args, const Work& work, int first_group) {
  const int warp = static_cast<int>(threadIdx.x) % kWarpgroupThreads / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < (kIsGated ? 1 : 2); ++half) {
    const int group = first_group + (kIsGated ? warp : 2 * warp + half);
    const int column = group * kGroupColumns + lane / 4;
    if (group >= args.num_groups) continue;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      const int row = i / 2 * 8 + lane % 4 * 2 + i % 2;
      if (row >= work.num_rows) continue;
      const float* const sum = &sums[i / 2 * 4 + i % 2];
      const int64_t to = int64_t{work.first_row + row} * args.n + column;
      if constexpr (kIsGated) {
        static_cast<T*>(args.out)[to] = gated<T>(sum[0], sum[2], args.activation);
      } else {
        static_cast<float*>(args.out)[to] = sum[2 * half];
      }
    }
  }
}

template <typename T, int kRows, bool kIsGated>
__device__ void multiply(const WideArgs& args, const Work& work, int first_group, Ring ring) {
  constexpr int kProductK = 16;
  constexpr int kProductBytes = kProductColumns * kRowBytes;
  constexpr int kProductGroups = kProductColumns / kGroupColumns / (kIsGated ? 2 : 1);
  const int first_product = static_cast<int>(threadIdx.x) / kWarpgroupThreads * kProducts;
  const auto release = [](SharedBarrier* empty) {
    if (threadIdx.x % 32 == 0) empty->arrive();
  };
  float sums[kProducts][kRows / 2] = {};
  SharedBarrier* multiplied = nullptr;  // of the stage before, when its products are done
  for (int step = 0; step < args.num_steps; ++step) {
    ring.wait_until_full();
    begin_products();
    const uint64_t weights = operand(ring.tiles() + first_product * kProductBytes);
    const uint64_t x = operand(ring.tiles() + kWeightTileBytes);
#pragma unroll
    for (int k = 0; k < kBlockK; k += kProductK) {
#pragma unroll
      for (int p = 0; p < kProducts; ++p) {
        multiply_shared<T>(sums[p], advance(weights, p * kProductBytes + k * 2), advance(x, k * 2), 1);
      }
    }
    commit_products();
    wait_for_products<1>();
    if (step > 0) release(multiplied);
    multiplied = &ring.empty();
    ring.advance();
  }
  wait_for_products<0>();
#pragma unroll
  for (auto& product_sums : sums) pin(product_sums);
#pragma unroll
  for (int p = 0; p < kProducts; ++p) {
    store_sums<T, kRows, kIsGated>(sums[p], args, work, first_group + (first_product + p) * kProductGroups);
  }
}

template <typename T, bool kIsGated>
__global__ void __launch_bounds__(kNumThreads, 1)
    wide_expert_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap x_map,
                       const __grid_constant__ WideArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char smem[];
  __shared__ RingBarriers barriers;
  constexpr int kLoader = kNumWarpgroups * kNumMultiplierWarps;  // the warp that loads
  const int warp = static_cast<int>(threadIdx.x) / 32;
  let_next_begin();
  wait_for_previous();
  const Work work(args);
  if (work.expert < 0) return;
  if (warp == kLoader) {
    const int stage = static_cast<int>(threadIdx.x) % 32;
    if (stage < kNumStages) {
      barriers.full[stage].init(1);
      barriers.empty[stage].init(kLoader);
    }
    publish_barriers();
  }
  __syncthreads();  // the barriers are initialised
  const int first_group = static_cast<int>(blockIdx.y) * (kTileColumns / kGroupColumns / (kIsGated ? 2 : 1));
  const Ring ring(barriers, align_tiles(smem), kNumStages, kStageBytes);
  if (warp == kLoader) {
    if (is_elected()) load_operands(weight_map, x_map, args, work, first_group, ring);
  } else if (work.num_rows <= kBoxRows) {
    multiply<T, kBoxRows, kIsGated>(args, work, first_group, ring);
  } else {
    multiply<T, kTileRows, kIsGated>(args, work, first_group, ring);
  }
#else
  __trap();
#endif
}

template <typename T, bool kIsGated>
void launch(const ExpertProduct& product, cudaStream_t handle) {
  constexpr int kStripGroups = kTileColumns / kGroupColumns / (kIsGated ? 2 : 1);
  const WideArgs args{.out = product.out,
                      .first_rows = product.first_rows,
                      .num_experts = product.num_experts,
                      .n = product.n,
                      .num_groups = product.n / kGroupColumns,
                      .num_steps = ceil_div(product.k, kBlockK),
                      .activation = product.activation};
  const auto kernel = wide_expert_kernel<T, kIsGated>;
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kNumSmemBytes));
  // More tiles of rows than there can be.
  const int max_tiles = product.max_rows / kTileRows + std::min(product.num_experts, product.max_rows);
  launch_chained(kernel,
                 dim3(static_cast<unsigned>(max_tiles), static_cast<unsigned>(ceil_div(args.num_groups, kStripGroups))),
                 dim3(kNumThreads), kNumSmemBytes, handle, make_weight_map<T>(product, kStripGroups),
                 make_tile_map<T>(product.x, product.max_rows, product.k, product.x_stride, kBoxRows), args);
}

}  // namespace

void run_wide_experts(const ExpertProduct& product, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const auto dispatch = [&]<typename T>() {
    if (product.is_gated) return launch<T, true>(product, handle);
    launch<T, false>(product, handle);
  };
  if (product.dtype == DType::kBF16) return dispatch.operator()<__nv_bfloat16>();
  dispatch.operator()<__half>();
}

}  // namespace cohort::cuda
