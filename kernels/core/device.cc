#include "kernels/core/device.h"

#include "kernels/core/cuda_runtime.h"

namespace cohort {

std::string to_string(Device device) {
  return device.kind == DeviceKind::kCpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

int num_cuda_devices() { return cuda::num_devices(); }

}  // namespace cohort
