// Chained kernels: the next kernel of a stream begins while the last blocks of the one before still run (programmatic
// dependent launch), so that its weights are on their way when its input is ready. Only for files that are compiled
// with CUDA.
//
// The rule of a kernel that is launched by launch_chained(): every thread calls wait_for_previous() once, before it
// first touches memory that other work of a step writes or reads. Before that it may read what no step writes (weights,
// tables made at load) and set up shared memory. Since every kernel waits, what ran two kernels before is done as well.
// A kernel that others may be chained to calls let_next_begin() as early as its blocks can share a multiprocessor with
// the next kernel's; without a call the next one begins when it ends. In code for devices before sm_90 all of this does
// nothing.
#pragma once

#include <utility>

#include "kernels/core/cuda_device.h"

namespace cohort::cuda {

__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ inline void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Whether the current device chains kernels, and its kernels wait.
inline bool can_chain() { return code_architecture() >= 90; }

// kernel<<<grid, block, num_smem_bytes, stream>>>(args...), chained, in clusters of so many blocks along x. Checks the
// launch.
template <typename... Params, typename... Args>
void launch_chained_clusters(void (*kernel)(Params...), int cluster_size, dim3 grid, dim3 block, size_t num_smem_bytes,
                             cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attributes[2] = {};
  unsigned num_attributes = 0;
  if (can_chain()) {
    attributes[num_attributes].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[num_attributes++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster_size > 1) {
    attributes[num_attributes].id = cudaLaunchAttributeClusterDimension;
    attributes[num_attributes++].val.clusterDim = {static_cast<unsigned>(cluster_size), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = num_smem_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = num_attributes;
  COHORT_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...));
}

// kernel<<<grid, block, num_smem_bytes, stream>>>(args...), chained. Checks the launch.
template <typename... Params, typename... Args>
void launch_chained(void (*kernel)(Params...), dim3 grid, dim3 block, size_t num_smem_bytes, cudaStream_t stream,
                    Args&&... args) {
  launch_chained_clusters(kernel, 1, grid, block, num_smem_bytes, stream, std::forward<Args>(args)...);
}

}  // namespace cohort::cuda
