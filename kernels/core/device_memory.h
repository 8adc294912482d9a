// How much memory a device has left.
#pragma once

#include <cstdint>

#include "kernels/core/device.h"

namespace cohort {

// Bytes that can still be taken of a CUDA device. Throws CheckError in a build without CUDA.
int64_t num_free_cuda_bytes(Device device);

}  // namespace cohort
