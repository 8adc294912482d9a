// What the benches of CUDA kernels share: their data, timing by CUDA graphs, the ceilings that kernels are held
// against, and where results go.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/cuda_check.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

inline constexpr Device kCuda{DeviceKind::kCuda, 0};
inline constexpr int64_t kRotatedBytes = int64_t{512} << 20;  // ten times the L2 of an H200

// bfloat16 of magnitude 1 to 2 and either sign: zeros would cost less power, and be faster.
Tensor random_tensor(const Shape& shape, uint32_t seed);
// A dense tensor of int32.
Tensor int32s(const std::vector<int32_t>& values, const Shape& shape);

// Microseconds of one of `num_calls` calls of `submit`, which queues the call of a number: the median of replays of all
// of them as one graph.
double time_us(Stream& stream, int num_calls, const std::function<void(int)>& submit);

// Bytes a second, read and written, of copying on the device by a kernel: faster than cudaMemcpyAsync().
double copy_ceiling(Stream& stream);

// Microseconds that a kernel that does nothing takes, when it is one of many that are chained.
double launch_us(Stream& stream);

// Writes what --json asked for; nothing to no path. Returns the program's exit code, having said what is wrong.
int write_results(const std::string& path, const std::string& json);

}  // namespace cohort
