#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_vector.cuh"
#include "kernels/pooling/pooling_backends.h"

namespace cohort::cuda {
namespace {

constexpr int kNumThreads = 256;
constexpr int kWarpSize = 32;
constexpr int kNumWarps = kNumThreads / kWarpSize;

// The sum over the block's threads, the same bits in each: the order depends on nothing.
__device__ float sum_of_block(float value) {
  __shared__ float sums[kNumWarps];
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if (threadIdx.x % kWarpSize == 0) sums[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < kNumWarps; ++i) total += sums[i];
  return total;
}

// A block has a sequence, a thread every kNumThreads-th column.
template <typename T>
__global__ void __launch_bounds__(kNumThreads)
    pooling_kernel(float* out, const T* x, int64_t x_stride, int64_t num_tokens, int hidden, const int32_t* starts,
                   Pooling pooling, bool normalizes) {
  let_next_begin();
  wait_for_previous();
  const int32_t start = starts[blockIdx.x];
  const int32_t stop = starts[blockIdx.x + 1];
  check_on_device(0 <= start && start < stop && stop <= num_tokens);
  const int32_t begin = pooling == Pooling::kLast ? stop - 1 : start;
  const int32_t end = pooling == Pooling::kMean ? stop : begin + 1;
  const auto num_rows = static_cast<float>(end - begin);
  float* const row = out + int64_t{blockIdx.x} * hidden;
  float squares = 0;
  for (int column = static_cast<int>(threadIdx.x); column < hidden; column += kNumThreads) {
    const T* from = x + begin * x_stride + column;
    float sum = to_float(*from);
#pragma unroll 8
    for (int32_t i = begin + 1; i < end; ++i) sum = __fadd_rn(sum, to_float(*(from += x_stride)));
    const float mean = __fdiv_rn(sum, num_rows);
    row[column] = mean;
    squares = __fmaf_rn(mean, mean, squares);
  }
  if (!normalizes) return;
  const float length = fmaxf(sqrtf(sum_of_block(squares)), kMinPooledLength);
  for (int column = static_cast<int>(threadIdx.x); column < hidden; column += kNumThreads) {
    row[column] = __fdiv_rn(row[column], length);
  }
}

}  // namespace

void pool_sequences(TensorView out, ConstTensorView x, ConstTensorView starts, Pooling pooling, bool normalizes,
                    Stream& stream) {
  const cudaStream_t handle = enter(stream);
  dispatch_float(x.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    launch_chained(pooling_kernel<D>, dim3(static_cast<unsigned>(out.dim(0))), dim3(kNumThreads), 0, handle,
                   out.data<float>(), static_cast<const D*>(x.data()), x.stride(0), x.dim(0),
                   static_cast<int>(out.dim(1)), starts.data<int32_t>(), pooling, normalizes);
  });
}

}  // namespace cohort::cuda
