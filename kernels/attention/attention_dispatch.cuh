// Which instance of a kernel template is launched, and with how much shared memory. Internal to this folder.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/attention/attention_layout.h"
#include "kernels/core/cuda_check.h"
#include "kernels/core/dtype.h"

namespace cohort::cuda {

// Lets `kernel` have `num_bytes` of shared memory a block, and a multiprocessor give to it all that it can.
template <typename Kernel>
void set_shared_memory(Kernel* kernel, int num_bytes) {
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, num_bytes));
  COHORT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
}

// Calls f.operator()<T, kDim, kIsPlain>() for the dtype, the padded dimension, and whether attention is plain.
template <typename F>
void dispatch_tile(DType dtype, int head_dim, bool is_plain, F&& f) {
  const auto with_kind = [&]<typename T, int kDim>() {
    return is_plain ? f.template operator()<T, kDim, true>() : f.template operator()<T, kDim, false>();
  };
  const auto with_dim = [&]<typename T>() {
    switch (padded_dim(head_dim)) {
      case 64:
        return with_kind.template operator()<T, 64>();
      case 96:
        return with_kind.template operator()<T, 96>();
      case 128:
        return with_kind.template operator()<T, 128>();
      default:
        return with_kind.template operator()<T, 256>();
    }
  };
  if (dtype == DType::kBF16) {
    with_dim.template operator()<__nv_bfloat16>();
  } else {
    with_dim.template operator()<__half>();
  }
}

}  // namespace cohort::cuda
