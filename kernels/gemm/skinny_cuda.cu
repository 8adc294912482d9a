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
#include <string>

#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/gemm/kernels_cuda.h"
#include "kernels/gemm/wgmma_cuda.cuh"

namespace cohort::cuda {
namespace {

using gemm_internal::kMaxSkinnyStages;
using gemm_internal::kSkinnyBlockK;
using gemm_internal::kSkinnyBlocksPerStage;
using gemm_internal::kSkinnyColumns;
using gemm_internal::SkinnyPlan;

constexpr int kNumMultipliers = 128;  // a warpgroup; then a warp that loads weights, and one that loads x
constexpr int kNumThreads = kNumMultipliers + 2 * 32;
constexpr int kRowBytes = 128;        // of kSkinnyBlockK elements, as far as a swizzle reaches
constexpr int kSmemAlignment = 1024;  // of a swizzled tile

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

// Barriers of the stages: `full` is complete when a stage's weights and x have come, `empty` when they are multiplied.
struct Barriers {
  uint64_t full[kMaxSkinnyStages];
  uint64_t empty[kMaxSkinnyStages];
};

constexpr int kMaxDynamicSmemBytes = (227 << 10) - static_cast<int>(sizeof(Barriers));  // on Hopper

// A way through the ring of stages. What loads and multiplies must be short between two stages.
class Ring {
 public:
  __device__ Ring(const SkinnyPlan& plan, const Barriers& barriers, uint32_t tiles)
      : num_stages_(plan.num_stages),
        stage_bytes_(plan.stage_bytes()),
        first_barrier_(gemm_internal::smem_address(barriers.full)),
        first_tiles_(tiles),
        barrier_(first_barrier_),
        tiles_(first_tiles_) {}

  __device__ uint32_t full() const { return barrier_; }
  __device__ uint32_t empty() const { return barrier_ + kMaxSkinnyStages * sizeof(uint64_t); }
  __device__ uint32_t tiles() const { return tiles_; }  // blocks of weights, then as many of x
  __device__ void wait_until_full() const { gemm_internal::wait(full(), turn_ & 1); }
  // At once in the first turn.
  __device__ void wait_until_empty() const { gemm_internal::wait(empty(), ~turn_ & 1); }
  __device__ void advance() {
    ++stage_;
    barrier_ += sizeof(uint64_t);
    tiles_ += static_cast<uint32_t>(stage_bytes_);
    if (stage_ < num_stages_) return;
    stage_ = 0;
    barrier_ = first_barrier_;
    tiles_ = first_tiles_;
    ++turn_;
  }

 private:
  const int num_stages_;
  const int stage_bytes_;
  const uint32_t first_barrier_;
  const uint32_t first_tiles_;
  uint32_t barrier_;
  uint32_t tiles_;
  int stage_ = 0;
  uint32_t turn_ = 0;
};

// A thread asks for the weights of all strips of the block, which no step writes.
__device__ void load_weights(const CUtensorMap& map, const SkinnyArgs& args, Ring ring) {
  const SkinnyPlan& plan = args.plan;
  const uint64_t once = gemm_internal::evict_first();
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
      gemm_internal::arrive_and_expect(ring.full(), num_bytes);
#pragma unroll
      for (int b = 0; b < kSkinnyBlocksPerStage; ++b) {
        gemm_internal::copy_box(ring.tiles() + b * tile_bytes, map, k, column, ring.full(), once);
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
      gemm_internal::arrive_and_expect(ring.full(), kSkinnyBlocksPerStage * tile_bytes);
#pragma unroll
      for (int b = 0; b < kSkinnyBlocksPerStage; ++b) {
        gemm_internal::copy_box(ring.tiles() + offset + b * tile_bytes, map, k, 0, ring.full());
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
  constexpr int kProductK = 16;
  const int weight_bytes = args.plan.weight_tile_bytes();
  const auto release = [](uint32_t empty) {
    if (threadIdx.x % 32 == 0) gemm_internal::arrive(empty);
  };
  for (int strip = static_cast<int>(blockIdx.x); strip < args.plan.num_strips; strip += static_cast<int>(gridDim.x)) {
    float sums[kSkinnyBlocksPerStage][kRows / 2] = {};
    uint32_t multiplied = 0;  // the stage before, when its products are done
    for (int step = 0; step < args.num_steps; ++step) {
      ring.wait_until_full();
      gemm_internal::fence_products();
#pragma unroll
      for (int b = 0; b < kSkinnyBlocksPerStage; ++b) {
        const uint32_t weights = ring.tiles() + b * weight_bytes;
        const uint32_t x = ring.tiles() + kSkinnyBlocksPerStage * weight_bytes + b * kRows * kRowBytes;
#pragma unroll
        for (int k = 0; k < kSkinnyBlockK; k += kProductK) {
          gemm_internal::multiply_async<T>(sums[b], gemm_internal::operand(weights, k), gemm_internal::operand(x, k));
        }
      }
      gemm_internal::commit_products();
      gemm_internal::wait_for_products<1>();
      if (step > 0) release(multiplied);
      multiplied = ring.empty();
      ring.advance();
    }
    gemm_internal::wait_for_products<0>();
    release(multiplied);
#pragma unroll
    for (int b = 1; b < kSkinnyBlocksPerStage; ++b) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) sums[0][i] += sums[b][i];
    }
    store_strip<T, kRows>(sums[0], args, strip);
  }
}

template <typename T, int kRows>
__global__ void __launch_bounds__(kNumThreads)
    skinny_gemm_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap x_map,
                       const __grid_constant__ SkinnyArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int kNumLoaders = 2;
  extern __shared__ char smem[];
  __shared__ Barriers barriers;
  const uint32_t tiles = (gemm_internal::smem_address(smem) + kSmemAlignment - 1) / kSmemAlignment * kSmemAlignment;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp == kNumMultipliers / 32) {
    const int stage = static_cast<int>(threadIdx.x) % 32;
    if (stage < args.plan.num_stages) {
      gemm_internal::init_barrier(gemm_internal::smem_address(&barriers.full[stage]), kNumLoaders);
      gemm_internal::init_barrier(gemm_internal::smem_address(&barriers.empty[stage]), kNumMultipliers / 32);
    }
    gemm_internal::fence_barrier_init();
    gemm_internal::prefetch_map(weight_map);
  } else if (warp == kNumMultipliers / 32 + 1) {
    gemm_internal::prefetch_map(x_map);
  }
  __syncthreads();  // the barriers are initialised
  const Ring ring(args.plan, barriers, tiles);
  if (warp == kNumMultipliers / 32) {
    if (gemm_internal::is_elected()) load_weights(weight_map, args, ring);
  } else if (warp == kNumMultipliers / 32 + 1) {
    if (gemm_internal::is_elected()) load_x(x_map, args, ring);
  } else {
    wait_for_previous();  // which may still read `out`
    multiply<T, kRows>(args, ring);
  }
#else
  __trap();
#endif
}

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's function, without linking to the driver.
EncodeTiled find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  COHORT_CUDA_CHECK(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result));
  COHORT_CHECK(result == cudaDriverEntryPointSuccess, std::to_string(static_cast<int>(result)));
  return reinterpret_cast<EncodeTiled>(function);
}

// Boxes of kSkinnyBlockK elements of `box_rows` rows of a matrix [num_rows, k].
CUtensorMap make_map(const void* data, DType dtype, int64_t num_rows, int64_t k, int64_t stride, int box_rows) {
  static const EncodeTiled encode = find_encode_tiled();
  const auto type = dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(k), static_cast<cuuint64_t>(num_rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(dtype_bytes(dtype, stride))};
  const cuuint32_t box[] = {kSkinnyBlockK, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t element_strides[] = {1, 1};
  CUtensorMap map;
  const CUresult result = encode(&map, type, 2, const_cast<void*>(data), sizes, strides, box, element_strides,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  COHORT_CHECK(result == CUDA_SUCCESS, std::to_string(static_cast<int>(result)));
  return map;
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
  const int num_smem_bytes = plan.smem_bytes() + kSmemAlignment;
  const auto kernel = skinny_gemm_kernel<T, kRows>;
  // Not what this launch takes: another thread's may take more.
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxDynamicSmemBytes));
  COHORT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  const int64_t x_stride = x.dim(0) == 1 ? x.dim(1) : x.stride(0);
  launch_chained(kernel, dim3(static_cast<unsigned>(plan.num_blocks)), dim3(kNumThreads),
                 static_cast<size_t>(num_smem_bytes), handle,
                 make_map(weight.data(), weight.dtype(), weight.n(), weight.k(), weight.k(), plan.strip_columns),
                 make_map(x.data(), x.dtype(), x.dim(0), x.dim(1), x_stride, kRows), args);
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
      case 32:
        return launch<T, 32>(out, x, weight, bias, plan, handle);
      default:
        return launch<T, 64>(out, x, weight, bias, plan, handle);
    }
  };
  if (weight.dtype() == DType::kBF16) return dispatch_rows.operator()<__nv_bfloat16>();
  dispatch_rows.operator()<__half>();
}

}  // namespace cohort::cuda
