#include "kernels/core/device.h"

#include "kernels/core/cuda_runtime.h"
#include "kernels/core/device_memory.h"

namespace cohort {

std::string to_string(Device device) {
  return device.kind == DeviceKind::kCpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

int num_cuda_devices() { return cuda::num_devices(); }

int64_t num_free_cuda_bytes(Device device) { return cuda::num_free_bytes(device.index); }

}  // namespace cohort
