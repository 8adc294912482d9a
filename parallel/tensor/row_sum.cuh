// Sums over the threads of a row, for kernels in which blocks share rows. Only for files that are compiled with CUDA.
#pragma once

#include <cooperative_groups.h>

#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda {

inline constexpr int kWarpSize = 32;

// The blocks of a row, where they are several: a cluster. Devices before sm_90 have none, and no config for them has
// several blocks a row.
struct Cluster {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  static __device__ void arrive() { check_on_device(false); }
  static __device__ void wait() { check_on_device(false); }
  static __device__ int rank() { return 0; }
  static __device__ float* shared_of(float* mine, int) { return mine; }
#else
  static __device__ void arrive() { cooperative_groups::this_cluster().barrier_arrive(); }
  static __device__ void wait() { cooperative_groups::this_cluster().barrier_wait(); }
  static __device__ int rank() { return static_cast<int>(cooperative_groups::this_cluster().block_rank()); }
  // What `mine` points to in this block's shared memory, in that of another.
  static __device__ float* shared_of(float* mine, int block) {
    return cooperative_groups::this_cluster().map_shared_rank(mine, block);
  }
#endif
};

// The sum over the threads of the row's blocks, the same bits in each of them: over each warp, then over the warps,
// whose sums each block gets of all. Called by all threads, after a barrier of the cluster: all of its blocks must have
// begun.
template <int kBlocksPerRow>
__device__ float sum_of_row(float value, float* warp_sums) {  // warp_sums: shared, of this sum alone
  const auto lane = static_cast<int>(threadIdx.x % kWarpSize);
  const auto warp = static_cast<int>(threadIdx.x / kWarpSize);
  const auto num_warps = static_cast<int>(blockDim.x / kWarpSize);
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if constexpr (kBlocksPerRow == 1) {
    if (lane == 0) warp_sums[warp] = value;
    __syncthreads();  // the other warps' sums are there
  } else {
    float* const mine = warp_sums + Cluster::rank() * num_warps + warp;
    if (lane < kBlocksPerRow) *Cluster::shared_of(mine, lane) = value;
    Cluster::arrive();
    Cluster::wait();  // likewise, of all blocks
  }
  value = 0;
  for (int i = lane; i < kBlocksPerRow * num_warps; i += kWarpSize) value += warp_sums[i];
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

}  // namespace cohort::cuda
