// COHORT_CUDA_CHECK: the check macro for CUDA runtime calls. Only for files that are compiled with CUDA.
#pragma once

#include <cuda_runtime.h>

#include "kernels/core/check.h"

#define COHORT_CUDA_CHECK(call)                                                                                        \
  do {                                                                                                                 \
    if (const cudaError_t error_ = (call); error_ != cudaSuccess) [[unlikely]]                                         \
      ::cohort::check_failed(__FILE__, __LINE__, #call,                                                                \
                             std::string(cudaGetErrorName(error_)) + " (" + std::to_string(static_cast<int>(error_)) + \
                                 "): " + cudaGetErrorString(error_));                                                  \
  } while (false)
