// Device: where memory is and where work runs.
#pragma once

#include <string>

namespace cohort {

enum class DeviceKind { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;  // CUDA ordinal; 0 on the CPU

  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpuDevice{DeviceKind::kCpu, 0};

// "cpu", "cuda:1"
std::string to_string(Device device);

// How many CUDA devices this process can use; 0 in a build without CUDA and on a machine without a driver or GPU.
int num_cuda_devices();

}  // namespace cohort
