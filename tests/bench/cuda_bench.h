// What the benches of CUDA kernels share: timing by CUDA graphs, and the ceiling that kernels are held against.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/core/cuda_check.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

inline constexpr Device kCuda{DeviceKind::kCuda, 0};
inline constexpr int64_t kRotatedBytes = int64_t{512} << 20;  // ten times the L2 of an H200

// Microseconds of one of `num_calls` calls of `submit`, which queues the call of a number.
inline double time_us(Stream& stream, int num_calls, const std::function<void(int)>& submit) {
  constexpr int kNumReplays = 9;
  const auto handle = static_cast<cudaStream_t>(stream.handle());
  submit(0);  // the first use chooses algorithms and loads kernels
  stream.synchronize();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  COHORT_CUDA_CHECK(cudaStreamBeginCapture(handle, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < num_calls; ++i) submit(i);
  COHORT_CUDA_CHECK(cudaStreamEndCapture(handle, &graph));
  COHORT_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  COHORT_CUDA_CHECK(cudaGraphLaunch(executable, handle));
  Event start(kCuda);
  Event stop(kCuda);
  std::vector<double> times;
  for (int i = 0; i < kNumReplays; ++i) {
    start.record(stream);
    COHORT_CUDA_CHECK(cudaGraphLaunch(executable, handle));
    stop.record(stream);
    stop.synchronize();
    times.push_back(stop.milliseconds_since(start) * 1000 / num_calls);
  }
  COHORT_CUDA_CHECK(cudaGraphExecDestroy(executable));
  COHORT_CUDA_CHECK(cudaGraphDestroy(graph));
  std::nth_element(times.begin(), times.begin() + kNumReplays / 2, times.end());
  return times[kNumReplays / 2];
}

// Bytes a second, read and written, of copying on the device.
inline double copy_ceiling(Stream& stream) {
  constexpr int64_t kNumBytes = int64_t{1} << 30;
  const Tensor from(DType::kU8, Shape{kNumBytes}, kCuda);
  const Tensor to(DType::kU8, Shape{kNumBytes}, kCuda);
  const double us = time_us(stream, 4, [&](int) {
    COHORT_CUDA_CHECK(cudaMemcpyAsync(to->data(), from->data(), kNumBytes, cudaMemcpyDeviceToDevice,
                                      static_cast<cudaStream_t>(stream.handle())));
  });
  return 2 * static_cast<double>(kNumBytes) / us * 1e6;
}

}  // namespace cohort
