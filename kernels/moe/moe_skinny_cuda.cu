// Products of experts for a few rows, as in decoding: as fast as memory gives the weights of the experts that have
// rows. As kernels/gemm/skinny_cuda.cu, whose ring of stages this is; only that blocks find their work on the device: a
// strip is some columns of one expert that has rows, and blocks take strips in turn.
//
// Columns are loaded by groups of eight, of a gated product a group of gate and the same of up, so that a lane has the
// sums of both.
#include <cstdint>

#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/gemm/ring_cuda.cuh"
#include "kernels/moe/gate_cuda.cuh"
#include "kernels/moe/moe.h"
#include "kernels/moe/products_cuda.h"
#include "kernels/moe/weight_map_cuda.cuh"

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#pragma nv_diag_suppress 177  // for other devices the kernel is empty, and nothing uses its parts
#endif

namespace cohort::cuda {
namespace {

// A warpgroup multiplies; then a warp loads weights, and one x.
constexpr int kNumThreads = kWarpgroupThreads + 2 * 32;
constexpr int kNumLoaders = 2;
constexpr int kBlockK = 64;  // elements of K that are loaded together: 128 bytes of a row
constexpr int kBlocksPerStage = 2;
constexpr int kStageK = kBlocksPerStage * kBlockK;
constexpr int kGroupsPerTile = 8;  // of weights, that a product of the tensor cores takes
constexpr int kWeightTileBytes = kGroupsPerTile * kGroupBytes;

// Of 227 KiB that a block may have; the rest is for a small kernel that waits beside it.
constexpr int kRingBytes = 200 << 10;

struct SkinnyArgs {
  void* out;                  // [num_rows, n]
  const int32_t* first_rows;  // [num_experts + 1]
  int num_experts;
  int n;
  int num_groups;        // of columns
  int groups_per_strip;  // kGroupsPerTile, or half as many where gate and up share a tile
  int num_strips;        // of an expert
  int num_steps;         // along K, of a stage each
  int num_stages;
  int max_boxes;  // of eight rows of x, in a stage
  bool is_early;
  Activation activation;

  __device__ int x_tile_bytes() const { return max_boxes * kGroupBytes; }
  __device__ int stage_bytes() const { return kBlocksPerStage * (kWeightTileBytes + x_tile_bytes()); }
};

// The experts that have rows.
struct ActiveExperts {
  int count;
  uint16_t experts[kMaxExperts];
  int first_rows[kMaxExperts];
  int num_rows[kMaxExperts];

  // By the lanes of one warp. Past the L1 cache, where another step's may lie.
  __device__ void find(const int32_t* rows, int num_experts) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int num_found = 0;
    for (int begin = 0; begin < num_experts; begin += 32) {
      const int expert = begin + lane;
      const int first = expert < num_experts ? __ldcg(rows + expert) : 0;
      const int end = expert < num_experts ? __ldcg(rows + expert + 1) : 0;
      const unsigned active = __ballot_sync(0xffffffffu, end > first);
      if (end > first) {
        const int place = num_found + __popc(active & ((1u << lane) - 1));
        experts[place] = static_cast<uint16_t>(expert);
        first_rows[place] = first;
        num_rows[place] = end - first;
      }
      num_found += __popc(active);
    }
    if (lane == 0) count = num_found;
  }
};

// Calls f(place of the expert among the active ones, first group of columns) for the block's strips.
template <typename F>
__device__ void for_each_strip(const SkinnyArgs& args, const ActiveExperts& active, F&& f) {
  const int num_items = active.count * args.num_strips;
  for (int item = static_cast<int>(blockIdx.x); item < num_items; item += static_cast<int>(gridDim.x)) {
    const int place = item / args.num_strips;
    f(place, (item - place * args.num_strips) * args.groups_per_strip);
  }
}

__device__ void load_weights(const CUtensorMap& map, const SkinnyArgs& args, const ActiveExperts& active, Ring ring) {
  const uint64_t once = evict_first();
  const int num_items = active.count * args.num_strips - static_cast<int>(blockIdx.x);
  const int own_items = max(0, (num_items + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x));
  int num_left = own_items * args.num_steps;
  // What launching takes passes while the last turn of the ring is loaded.
  const int num_left_to_begin = min(num_left, args.num_stages);
  if (num_left == 0) let_next_begin();
  for_each_strip(args, active, [&](int place, int group) {
    int k = 0;
    for (int step = 0; step < args.num_steps; ++step, --num_left) {
      if (num_left == num_left_to_begin) let_next_begin();
      ring.wait_until_empty();
      ring.full().arrive_and_expect(kBlocksPerStage * kWeightTileBytes);
#pragma unroll
      for (int b = 0; b < kBlocksPerStage; ++b) {
        load_box(ring.tiles() + b * kWeightTileBytes, map, ring.full(), {k, 0, 0, group, active.experts[place]}, once);
        k += kBlockK;
      }
      ring.advance();
    }
  });
}

__device__ void load_x(const CUtensorMap& map, const SkinnyArgs& args, const ActiveExperts& active, Ring ring) {
  for_each_strip(args, active, [&](int place, int) {
    const int num_boxes = (active.num_rows[place] + 7) / 8;
    const int first_row = active.first_rows[place];
    int k = 0;
    for (int step = 0; step < args.num_steps; ++step) {
      ring.wait_until_empty();
      ring.full().arrive_and_expect(kBlocksPerStage * num_boxes * kGroupBytes);
#pragma unroll
      for (int b = 0; b < kBlocksPerStage; ++b) {
        char* const tile = ring.tiles() + kBlocksPerStage * kWeightTileBytes + b * args.x_tile_bytes();
        for (int i = 0; i < num_boxes; ++i) {
          load_box(tile + i * kGroupBytes, map, ring.full(), {k, first_row + i * 8});
        }
        k += kBlockK;
      }
      ring.advance();
    }
  });
}

// The warpgroup's sums of a strip go to their columns.
template <typename T, int kRows, bool kIsGated>
__device__ void store_strip(const float (&sums)[kRows / 2], const SkinnyArgs& args, const ActiveExperts& active,
                            int place, int first_group) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t first_row = active.first_rows[place];
  const int num_rows = active.num_rows[place];
#pragma unroll
  for (int half = 0; half < (kIsGated ? 1 : 2); ++half) {
    const int group = first_group + (kIsGated ? warp : 2 * warp + half);
    const int column = group * kGroupColumns + lane / 4;
    if (group >= args.num_groups) continue;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      const int row = i / 2 * 8 + lane % 4 * 2 + i % 2;
      if (row >= num_rows) continue;
      const float* const sum = &sums[i / 2 * 4 + i % 2];
      const int64_t to = (first_row + row) * args.n + column;
      if constexpr (kIsGated) {
        static_cast<T*>(args.out)[to] = gated<T>(sum[0], sum[2], args.activation);
      } else {
        static_cast<float*>(args.out)[to] = sum[2 * half];
      }
    }
  }
}

template <typename T, int kRows, bool kIsGated>
__device__ void multiply(const SkinnyArgs& args, const ActiveExperts& active, Ring ring) {
  for_each_strip(args, active, [&](int place, int group) {
    float sums[kRows / 2];
    multiply_stages<T, kBlocksPerStage, kBlockK, kRows>(sums, ring, args.num_steps, kWeightTileBytes);
    store_strip<T, kRows, kIsGated>(sums, args, active, place, group);
  });
}

template <typename T, int kRows, bool kIsGated>
__global__ void __launch_bounds__(kNumThreads)
    skinny_expert_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap x_map,
                         const __grid_constant__ SkinnyArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char smem[];
  __shared__ RingBarriers barriers;
  __shared__ ActiveExperts active;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp == kNumMultiplierWarps) {
    const int stage = static_cast<int>(threadIdx.x) % 32;
    if (stage < args.num_stages) barriers.init(stage, kNumLoaders);
    publish_barriers();
    prefetch(weight_map);
  } else if (warp == kNumMultiplierWarps + 1) {
    prefetch(x_map);
  }
  // Where rows are known early, weights come while the kernel before ends.
  if (!args.is_early) wait_for_previous();
  if (warp == 0) active.find(args.first_rows, args.num_experts);
  __syncthreads();  // the barriers are initialised, and the experts found
  const Ring ring(barriers, align_tiles(smem), args.num_stages, args.stage_bytes());
  if (warp == kNumMultiplierWarps) {
    if (is_elected()) load_weights(weight_map, args, active, ring);
    __syncwarp();
    if (args.is_early) wait_for_previous();
    return;
  }
  if (args.is_early) wait_for_previous();  // which writes x, and may still read `out`
  if (warp == kNumMultiplierWarps + 1) {
    if (is_elected()) load_x(x_map, args, active, ring);
  } else {
    multiply<T, kRows, kIsGated>(args, active, ring);
  }
#else
  __trap();
#endif
}

template <typename T, int kRows, bool kIsGated>
void launch(const ExpertProduct& product, Stream& stream, cudaStream_t handle) {
  SkinnyArgs args{.out = product.out,
                  .first_rows = product.first_rows,
                  .num_experts = product.num_experts,
                  .n = product.n,
                  .num_groups = product.n / kGroupColumns,
                  .groups_per_strip = kIsGated ? kGroupsPerTile / 2 : kGroupsPerTile,
                  .num_strips = 0,
                  .num_steps = ceil_div(product.k, kStageK),
                  .num_stages = 0,
                  .max_boxes = kRows / 8,
                  .is_early = product.is_early,
                  .activation = product.activation};
  args.num_strips = ceil_div(args.num_groups, args.groups_per_strip);
  constexpr int kStageBytes = kBlocksPerStage * (kWeightTileBytes + kRows / 8 * kGroupBytes);
  args.num_stages = std::min(kRingBytes / kStageBytes, kMaxRingStages);
  const int num_smem_bytes = args.num_stages * kStageBytes + kGroupBytes;
  const auto kernel = skinny_expert_kernel<T, kRows, kIsGated>;
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, num_smem_bytes));
  COHORT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  const int max_strips = args.num_strips * std::min(product.num_experts, product.max_rows);
  const int num_blocks = std::min(max_strips, num_multiprocessors(stream));
  launch_chained(kernel, dim3(static_cast<unsigned>(num_blocks)), dim3(kNumThreads),
                 static_cast<size_t>(num_smem_bytes), handle, make_weight_map<T>(product, args.groups_per_strip),
                 make_tile_map<T>(product.x, product.max_rows, product.k, product.x_stride, 8), args);
}

}  // namespace

void run_skinny_experts(const ExpertProduct& product, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const auto dispatch_gate = [&]<typename T, int kRows>() {
    if (product.is_gated) return launch<T, kRows, true>(product, stream, handle);
    launch<T, kRows, false>(product, stream, handle);
  };
  const auto dispatch = [&]<typename T>() {
    if (product.max_expert_rows <= 8) return dispatch_gate.template operator()<T, 8>();
    if (product.max_expert_rows <= 16) return dispatch_gate.template operator()<T, 16>();
    if (product.max_expert_rows <= 32) return dispatch_gate.template operator()<T, 32>();
    dispatch_gate.template operator()<T, kMaxSkinnyExpertRows>();
  };
  if (product.dtype == DType::kBF16) return dispatch.operator()<__nv_bfloat16>();
  dispatch.operator()<__half>();
}

}  // namespace cohort::cuda
