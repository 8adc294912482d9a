// The product for a few rows of x, as in decoding: as fast as memory gives the weights, also where one kernel follows
// another.
//
// A block has a strip of columns of the product and streams their weights through a ring of stages in shared memory,
// from where the tensor cores take them: the weights are the first operand of a warpgroup's product, x the second. One
// thread asks for weights, one for x, and a warpgroup multiplies. No sum is split between blocks.
//
// At the edges of kernels memory goes on working: weights are not written in a step, and so a block fills its ring with
// its first ones while the kernel before ends. The ring takes nearly all of a multiprocessor's shared memory, so that a
// block begins to do so where the block before it has left and not while that one still streams: asking for weights
// earlier gains nothing, since they are then missing to fill the edge.
#include <cstdint>

#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/gemm/kernels_cuda.h"
#include "kernels/gemm/ring_cuda.cuh"

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#pragma nv_diag_suppress 177  // for other devices the kernel is empty, and nothing uses its parts
#endif

namespace cohort::cuda {
namespace {

using gemm_internal::kSkinnyBlockK;
using gemm_internal::kSkinnyBlocksPerStage;
using gemm_internal::kSkinnyColumns;
using gemm_internal::SkinnyPlan;

// A warpgroup multiplies; then a warp loads weights, and one x.
constexpr int kNumThreads = kWarpgroupThreads + 2 * 32;
constexpr int kNumLoaders = 2;

struct SkinnyArgs {
  void* out;          // [num_rows, n]
  const float* bias;  // [n], or null
  int64_t out_stride;
  int num_rows;
  int n;
  int num_steps;  // along K, of a stage each
  bool is_float_out;
  SkinnyPlan plan;
};

constexpr int kMaxDynamicSmemBytes = (227 << 10) - static_cast<int>(sizeof(RingBarriers));  // on Hopper

// A thread asks for the weights of all strips of the block, which no step writes.
__device__ void load_weights(const CUtensorMap& map, const SkinnyArgs& args, Ring ring) {
  const SkinnyPlan& plan = args.plan;
  const uint64_t once = evict_first();
  const int num_bytes = kSkinnyBlocksPerStage * plan.strip_columns * kRowBytes;
  const int tile_bytes = plan.weight_tile_bytes();
  const int num_strips =
      (plan.num_strips - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
  int num_left = num_strips * args.num_steps;
  // What launching takes passes while the last turn of the ring is loaded.
  const int num_left_to_begin = min(num_left, plan.num_stages);
  for (int strip = static_cast<int>(blockIdx.x); strip < plan.num_strips; strip += static_cast<int>(gridDim.x)) {
    const int column = strip * plan.strip_columns;
    int k = 0;
    for (int step = 0; step < args.num_steps; ++step, --num_left) {
      if (num_left == num_left_to_begin) let_next_begin();
      ring.wait_until_empty();
      ring.full().arrive_and_expect(num_bytes);
#pragma unroll
      for (int b = 0; b < kSkinnyBlocksPerStage; ++b) {
        load_box(ring.tiles() + b * tile_bytes, map, ring.full(), {k, column}, once);
        k += kSkinnyBlockK;
      }
      ring.advance();
    }
  }
  wait_for_previous();
}

// A thread asks for x, once for each strip.
__device__ void load_x(const CUtensorMap& map, const SkinnyArgs& args, Ring ring) {
  const SkinnyPlan& plan = args.plan;
  const int tile_bytes = plan.x_tile_bytes();
  const int offset = kSkinnyBlocksPerStage * plan.weight_tile_bytes();
  wait_for_previous();
  for (int strip = static_cast<int>(blockIdx.x); strip < plan.num_strips; strip += static_cast<int>(gridDim.x)) {
    int k = 0;
    for (int step = 0; step < args.num_steps; ++step) {
      ring.wait_until_empty();
      ring.full().arrive_and_expect(kSkinnyBlocksPerStage * tile_bytes);
#pragma unroll
      for (int b = 0; b < kSkinnyBlocksPerStage; ++b) {
        load_box(ring.tiles() + offset + b * tile_bytes, map, ring.full(), {k, 0});
        k += kSkinnyBlockK;
      }
      ring.advance();
    }
  }
}

template <typename T>
__device__ void store(T* out, const SkinnyArgs& args, int row, int column, float sum) {
  if (row < args.num_rows) out[row * args.out_stride + column] = round_to<T>(sum);
}

// The warpgroup's sums of a strip go to their columns.
template <typename T, int kRows>
__device__ void store_strip(const float (&sums)[kRows / 2], const SkinnyArgs& args, int strip) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int place = static_cast<int>(threadIdx.x) / 32 * 16 + half * 8 + lane / 4;
    const int column = strip * args.plan.strip_columns + place;
    if (place >= args.plan.strip_columns || column >= args.n) continue;
    const float added = args.bias != nullptr ? args.bias[column] : 0.0f;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
      const int row = i / 2 * 8 + lane % 4 * 2 + i % 2;
      const float sum = sums[i / 2 * 4 + half * 2 + i % 2] + added;
      if (args.is_float_out) {
        store(static_cast<float*>(args.out), args, row, column, sum);
      } else {
        store(static_cast<T*>(args.out), args, row, column, sum);
      }
    }
  }
}

template <typename T, int kRows>
__device__ void multiply(const SkinnyArgs& args, Ring ring) {
  for (int strip = static_cast<int>(blockIdx.x); strip < args.plan.num_strips; strip += static_cast<int>(gridDim.x)) {
    float sums[kRows / 2];
    multiply_stages<T, kSkinnyBlocksPerStage, kSkinnyBlockK, kRows>(sums, ring, args.num_steps,
                                                                    args.plan.weight_tile_bytes());
    store_strip<T, kRows>(sums, args, strip);
  }
}

template <typename T, int kRows>
__global__ void __launch_bounds__(kNumThreads)
    skinny_gemm_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap x_map,
                       const __grid_constant__ SkinnyArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char smem[];
  __shared__ RingBarriers barriers;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp == kNumMultiplierWarps) {
    const int stage = static_cast<int>(threadIdx.x) % 32;
    if (stage < args.plan.num_stages) barriers.init(stage, kNumLoaders);
    publish_barriers();
    prefetch(weight_map);
  } else if (warp == kNumMultiplierWarps + 1) {
    prefetch(x_map);
  }
  __syncthreads();  // the barriers are initialised
  const Ring ring(barriers, align_tiles(smem), args.plan.num_stages, args.plan.stage_bytes());
  if (warp == kNumMultiplierWarps) {
    if (is_elected()) load_weights(weight_map, args, ring);
  } else if (warp == kNumMultiplierWarps + 1) {
    if (is_elected()) load_x(x_map, args, ring);
  } else {
    wait_for_previous();  // which may still read `out`
    multiply<T, kRows>(args, ring);
  }
#else
  __trap();
#endif
}

template <typename T, int kRows>
void launch(const TensorView& out, const ConstTensorView& x, const PackedWeight& weight, const ConstTensorView& bias,
            const SkinnyPlan& plan, cudaStream_t handle) {
  constexpr int64_t kStageK = kSkinnyBlocksPerStage * kSkinnyBlockK;
  const SkinnyArgs args{.out = out.data(),
                        .bias = bias.empty() ? nullptr : bias.data<float>(),
                        .out_stride = out.stride(0),
                        .num_rows = static_cast<int>(x.dim(0)),
                        .n = static_cast<int>(weight.n()),
                        .num_steps = static_cast<int>((weight.k() + kStageK - 1) / kStageK),
                        .is_float_out = out.dtype() == DType::kF32,
                        .plan = plan};
  const int num_smem_bytes = plan.smem_bytes() + kGroupBytes;
  const auto kernel = skinny_gemm_kernel<T, kRows>;
  // Not what this launch takes: another thread's may take more.
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxDynamicSmemBytes));
  COHORT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  const int64_t x_stride = x.dim(0) == 1 ? x.dim(1) : x.stride(0);
  launch_chained(kernel, dim3(static_cast<unsigned>(plan.num_blocks)), dim3(kNumThreads),
                 static_cast<size_t>(num_smem_bytes), handle,
                 make_tile_map<T>(weight.data(), weight.n(), weight.k(), weight.k(), plan.strip_columns),
                 make_tile_map<T>(x.data(), x.dim(0), x.dim(1), x_stride, kRows), args);
}

}  // namespace

void run_skinny_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                     Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const SkinnyPlan plan = gemm_internal::plan_skinny(x.dim(0), weight.n(), num_multiprocessors(stream));
  const auto dispatch_rows = [&]<typename T>() {
    switch (plan.padded_rows) {
      case 8:
        return launch<T, 8>(out, x, weight, bias, plan, handle);
      case 16:
        return launch<T, 16>(out, x, weight, bias, plan, handle);
      default:
        return launch<T, 32>(out, x, weight, bias, plan, handle);
    }
  };
  if (weight.dtype() == DType::kBF16) return dispatch_rows.operator()<__nv_bfloat16>();
  dispatch_rows.operator()<__half>();
}

}  // namespace cohort::cuda
