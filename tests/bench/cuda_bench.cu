#include "tests/bench/cuda_bench.h"

#include "kernels/core/cuda_launch.cuh"

namespace cohort {
namespace {

constexpr int kNumThreads = 512;
constexpr int kUnrolled = 4;  // loads of a thread on their way at once

// Each block copies one piece of kNumThreads * kUnrolled vectors.
__global__ void __launch_bounds__(kNumThreads) copy_kernel(uint4* to, const uint4* from) {
  const int64_t first = int64_t{blockIdx.x} * kNumThreads * kUnrolled + threadIdx.x;
  uint4 x[kUnrolled];
#pragma unroll
  for (int i = 0; i < kUnrolled; ++i) x[i] = __ldcs(from + first + i * kNumThreads);
#pragma unroll
  for (int i = 0; i < kUnrolled; ++i) __stcs(to + first + i * kNumThreads, x[i]);
}

__global__ void empty_kernel() {
  cuda::let_next_begin();
  cuda::wait_for_previous();
}

}  // namespace

double copy_ceiling(Stream& stream) {
  constexpr int64_t kNumBytes = int64_t{2} << 30;
  const Tensor from(DType::kU8, Shape{kNumBytes}, kCuda);
  const Tensor to(DType::kU8, Shape{kNumBytes}, kCuda);
  const auto handle = static_cast<cudaStream_t>(stream.handle());
  COHORT_CUDA_CHECK(cudaMemsetAsync(from->data(), 0x5a, kNumBytes, handle));
  const double us = time_us(stream, 4, [&](int) {
    constexpr int64_t kBlockBytes = int64_t{kNumThreads} * kUnrolled * sizeof(uint4);
    copy_kernel<<<kNumBytes / kBlockBytes, kNumThreads, 0, handle>>>(static_cast<uint4*>(to->data()),
                                                                     static_cast<const uint4*>(from->data()));
    COHORT_CUDA_CHECK(cudaGetLastError());
  });
  return 2 * static_cast<double>(kNumBytes) / us * 1e6;
}

double launch_us(Stream& stream) {
  return time_us(stream, 64, [&](int) {
    cuda::launch_chained(empty_kernel, 1, 32, 0, static_cast<cudaStream_t>(stream.handle()));
  });
}

}  // namespace cohort
