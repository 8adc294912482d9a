#include "tests/bench/gemm_chain_cuda.h"

#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_vector.cuh"

namespace cohort {
namespace {

constexpr int kNumThreads = 256;
constexpr int kVecSize = 8;

__global__ void __launch_bounds__(kNumThreads) pass_on_kernel(__nv_bfloat16* out, const __nv_bfloat16* x, int64_t n,
                                                              int64_t out_stride, int64_t x_stride, float divisor) {
  cuda::let_next_begin();
  cuda::wait_for_previous();
  const int64_t i = (int64_t{blockIdx.x} * kNumThreads + threadIdx.x) * kVecSize;
  if (i >= n) return;
  auto values = cuda::load<__nv_bfloat16, kVecSize>(x + blockIdx.y * x_stride + i, n - i);
#pragma unroll
  for (float& value : values.values) value = fminf(fmaxf(value / divisor, -2.0f), 2.0f);
  cuda::store<__nv_bfloat16, kVecSize>(out + blockIdx.y * out_stride + i, values, n - i);
}

}  // namespace

void pass_on(TensorView out, ConstTensorView x, float divisor, Stream& stream) {
  const int64_t n = out.dim(1);
  const auto num_blocks = static_cast<unsigned>((n + kNumThreads * kVecSize - 1) / (kNumThreads * kVecSize));
  cuda::launch_chained(pass_on_kernel, dim3(num_blocks, static_cast<unsigned>(out.dim(0))), dim3(kNumThreads), 0,
                       cuda::enter(stream), static_cast<__nv_bfloat16*>(out.data()),
                       static_cast<const __nv_bfloat16*>(x.data()), n, out.stride(0), x.stride(0), divisor);
}

}  // namespace cohort
