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

// Bytes a second, read and written, of copying on the device by a kernel: faster than cudaMemcpyAsync().
double copy_ceiling(Stream& stream);

// Microseconds that a kernel that does nothing takes, when it is one of many that are chained.
double launch_us(Stream& stream);

}  // namespace cohort
