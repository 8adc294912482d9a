// The product for a few rows of x, as in decoding: as fast as memory gives the weights.
//
// An mma of 16 columns of the product, 8 rows of x and 16 elements of K takes the weights as its first operand. In
// which order it meets the elements of K is free as long as both operands agree, so that a lane takes 16 bytes on end
// of a row of the weight and the same 16 bytes' place of a row of x, and the two need no shared memory and no shuffles.
// The warps of a block share its columns and take turns along K; their sums are added in the order of the warps.
#include <cstdint>

#include "kernels/core/cuda_vector.cuh"
#include "kernels/gemm/kernels_cuda.h"
#include "kernels/gemm/mma_cuda.cuh"

namespace cohort::cuda {
namespace {

constexpr int kNumWarps = 8;
constexpr int kNumThreads = 32 * kNumWarps;
constexpr int kMaxRows = static_cast<int>(gemm_internal::kMaxSkinnyRows);
constexpr int kVecSize = 8;           // elements of 16 bytes
constexpr int kStepK = 4 * kVecSize;  // four lanes share a row; two mma
constexpr int kLoadsInFlight = 8;     // of weights, each 16 bytes a thread: 32 KiB a block
constexpr int kBlocksPerMultiprocessor = 3;

template <typename T, typename Out>
struct SkinnyArgs {
  Out* out;           // [num_rows, n]
  const T* x;         // [num_rows, k]
  const T* weight;    // [n, k]
  const float* bias;  // [n], or null
  int num_rows;
  int64_t n;
  int64_t k;  // a multiple of kVecSize
  int64_t x_stride;
  int64_t out_stride;
};

// Read once: not to displace x, which every block reads.
__device__ uint4 load_weight(const void* p, bool is_inside) {
  return is_inside ? __ldcs(static_cast<const uint4*>(p)) : uint4{};
}

__device__ uint4 load_x(const void* p, bool is_inside) {
  return is_inside ? __ldg(static_cast<const uint4*>(p)) : uint4{};
}

// One kStepK of 16 columns, whose rows of the weight are `low` and, 8 further, `high`.
template <typename T>
__device__ void multiply_step(float (&sums)[4], const uint4& low, const uint4& high, const uint4& x) {
  gemm_internal::multiply_add(sums, low.x, high.x, low.y, high.y, x.x, x.y, T());
  gemm_internal::multiply_add(sums, low.z, high.z, low.w, high.w, x.z, x.w, T());
}

// The sums of a warp's part of K, of 16 * kTiles columns from first_column on.
template <typename T, typename Out, int kTiles>
__device__ void sum_part(float (&sums)[kTiles][4], const SkinnyArgs<T, Out>& args, int64_t first_column) {
  constexpr int kSteps = kLoadsInFlight / (2 * kTiles);
  constexpr int kPartK = kSteps * kStepK;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int group = static_cast<int>(threadIdx.x) % 32 / 4;
  const int place = static_cast<int>(threadIdx.x) % 4 * kVecSize;
  const T* weights[2 * kTiles];  // columns beyond n read the last one's, and are not stored
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    weights[i] = args.weight + min(first_column + 8 * i + group, args.n - 1) * args.k;
  }
  const bool has_row = group < args.num_rows;
  const T* const x = args.x + (has_row ? group * args.x_stride : 0);
  for (int64_t begin = int64_t{warp} * kPartK; begin < args.k; begin += kNumWarps * kPartK) {
    uint4 w[kSteps][2 * kTiles];
    uint4 rows[kSteps];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int64_t k = begin + step * kStepK + place;
#pragma unroll
      for (int i = 0; i < 2 * kTiles; ++i) w[step][i] = load_weight(weights[i] + k, k < args.k);
      rows[step] = load_x(x + k, has_row && k < args.k);
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        multiply_step<T>(sums[tile], w[step][2 * tile], w[step][2 * tile + 1], rows[step]);
      }
    }
  }
}

template <typename T, typename Out, int kTiles>
__global__ void __launch_bounds__(kNumThreads, kBlocksPerMultiprocessor)
    skinny_gemm_kernel(const SkinnyArgs<T, Out> args) {
  constexpr int kColumns = 16 * kTiles;
  constexpr int kPitch = kColumns + 4;  // lanes store to all banks
  __shared__ float parts[kNumWarps][kMaxRows][kPitch];
  const int64_t first_column = int64_t{blockIdx.x} * kColumns;
  float sums[kTiles][4] = {};
  sum_part<T, Out, kTiles>(sums, args, first_column);

  auto& part = parts[threadIdx.x / 32];
  const int group = static_cast<int>(threadIdx.x) % 32 / 4;
  const int row = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    part[row][16 * tile + group] = sums[tile][0];
    part[row + 1][16 * tile + group] = sums[tile][1];
    part[row][16 * tile + group + 8] = sums[tile][2];
    part[row + 1][16 * tile + group + 8] = sums[tile][3];
  }
  __syncthreads();  // every warp's part is needed below
  for (int i = static_cast<int>(threadIdx.x); i < args.num_rows * kColumns; i += kNumThreads) {
    const int64_t column = first_column + i % kColumns;
    if (column >= args.n) continue;
    float sum = parts[0][i / kColumns][i % kColumns];
#pragma unroll
    for (int warp = 1; warp < kNumWarps; ++warp) sum += parts[warp][i / kColumns][i % kColumns];
    if (args.bias != nullptr) sum += args.bias[column];
    args.out[i / kColumns * args.out_stride + column] = round_to<Out>(sum);
  }
}

template <typename T, typename Out>
void launch(const TensorView& out, const ConstTensorView& x, const PackedWeight& weight, const ConstTensorView& bias,
            const Stream& stream) {
  const cudaStream_t handle = enter(stream);
  int num_multiprocessors = 0;
  COHORT_CUDA_CHECK(
      cudaDeviceGetAttribute(&num_multiprocessors, cudaDevAttrMultiProcessorCount, stream.device().index));
  const int columns = gemm_internal::choose_skinny_columns(weight.n(), num_multiprocessors);
  const SkinnyArgs<T, Out> args{.out = static_cast<Out*>(out.data()),
                                .x = static_cast<const T*>(x.data()),
                                .weight = static_cast<const T*>(weight.data()),
                                .bias = bias.empty() ? nullptr : bias.data<float>(),
                                .num_rows = static_cast<int>(x.dim(0)),
                                .n = weight.n(),
                                .k = weight.k(),
                                .x_stride = x.stride(0),
                                .out_stride = out.stride(0)};
  const auto num_blocks = static_cast<unsigned>((weight.n() + columns - 1) / columns);
  if (columns == 32) {
    skinny_gemm_kernel<T, Out, 2><<<num_blocks, kNumThreads, 0, handle>>>(args);
  } else {
    skinny_gemm_kernel<T, Out, 1><<<num_blocks, kNumThreads, 0, handle>>>(args);
  }
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void run_skinny_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                     Stream& stream) {
  const auto dispatch_out = [&]<typename T>() {
    if (out.dtype() == DType::kF32) return launch<T, float>(out, x, weight, bias, stream);
    launch<T, T>(out, x, weight, bias, stream);
  };
  if (weight.dtype() == DType::kBF16) return dispatch_out.operator()<__nv_bfloat16>();
  dispatch_out.operator()<__half>();
}

}  // namespace cohort::cuda
