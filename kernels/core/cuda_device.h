// What launches depend on of devices and of the code that was built for them, asked of the driver once. Only for files
// that see CUDA. Thread-safe.
#pragma once

#include <vector>

#include "kernels/core/cuda_check.h"
#include "kernels/core/stream.h"

namespace cohort::cuda {

// Of every device.
inline std::vector<int> device_attributes(cudaDeviceAttr attribute) {
  int num_devices = 0;
  COHORT_CUDA_CHECK(cudaGetDeviceCount(&num_devices));
  std::vector<int> values(static_cast<size_t>(num_devices));
  for (int i = 0; i < num_devices; ++i) {
    COHORT_CUDA_CHECK(cudaDeviceGetAttribute(&values[static_cast<size_t>(i)], attribute, i));
  }
  return values;
}

// Of the stream's device.
inline int num_multiprocessors(const Stream& stream) {
  static const std::vector<int> counts = device_attributes(cudaDevAttrMultiProcessorCount);
  return counts[static_cast<size_t>(stream.device().index)];
}

// Of the current device: 90 for 9.0.
inline int compute_capability() {
  static const std::vector<int> majors = device_attributes(cudaDevAttrComputeCapabilityMajor);
  static const std::vector<int> minors = device_attributes(cudaDevAttrComputeCapabilityMinor);
  int device = 0;
  COHORT_CUDA_CHECK(cudaGetDevice(&device));
  return 10 * majors[static_cast<size_t>(device)] + minors[static_cast<size_t>(device)];
}

// What the kernels that run on the current device were compiled for, which is __CUDA_ARCH__ / 10 in them: at most its
// compute capability, and less where the driver compiles code for older devices.
int code_architecture();

// Whether the current device runs kernels for sm_90a, with what no other device has (wgmma).
inline bool has_sm90a_kernels() {
#ifdef COHORT_HAVE_SM90A
  return compute_capability() == 90;
#else
  return false;
#endif
}

}  // namespace cohort::cuda
