#include <cooperative_groups.h>

#include "kernels/core/cuda_launch.cuh"
#include "parallel/comm/mailbox.cuh"
#include "parallel/tensor/all_reduce_norm_kernel.h"

namespace cohort::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kWarpSize = 32;
constexpr int kMaxThreads = 1024;

// The blocks of a row, where they are several: a cluster. Devices before sm_90 have none, and no config for them has
// several blocks a row.
struct Cluster {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  static __device__ void arrive() { check_on_device(false); }
  static __device__ void wait() { check_on_device(false); }
  static __device__ int rank() { return 0; }
  static __device__ float* shared_of(float* mine, int) { return mine; }
#else
  static __device__ void arrive() { cg::this_cluster().barrier_arrive(); }
  static __device__ void wait() { cg::this_cluster().barrier_wait(); }
  static __device__ int rank() { return static_cast<int>(cg::this_cluster().block_rank()); }
  // What `mine` points to in this block's shared memory, in that of another.
  static __device__ float* shared_of(float* mine, int block) { return cg::this_cluster().map_shared_rank(mine, block); }
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

// A cluster of blocks a row, a vector a thread; x is this rank's term. bias may be null.
template <typename T, int kNumRanks, int kBlocksPerRow, bool kIsLayerNorm>
__global__ void __cluster_dims__(kBlocksPerRow) __launch_bounds__(kMaxThreads)
    all_reduce_add_norm_kernel(T* out, T* residual, const T* x, const float* weight, const float* bias, float eps,
                               int num_vectors, const __grid_constant__ Mailbox mailbox) {
  constexpr int kVecSize = kVecBytes / sizeof(T);
  using Values = Vec<float, kVecSize>;
  __shared__ float warp_sums[2][kBlocksPerRow * kMaxThreads / kWarpSize];
  let_next_begin();
  if constexpr (kBlocksPerRow > 1) Cluster::arrive();
  const auto row = static_cast<int>(blockIdx.x / kBlocksPerRow);
  const auto column = static_cast<int>(blockIdx.x % kBlocksPerRow * blockDim.x + threadIdx.x);  // in vectors
  const bool has_vector = column < num_vectors;
  // What no step writes comes before the wait, and with it the way to memory.
  Values weights = {};
  Values biases = {};
  if (has_vector) weights = load<float, kVecSize>(weight + column * kVecSize, kVecSize);
  if (has_vector && kIsLayerNorm && bias != nullptr) {
    biases = load<float, kVecSize>(bias + column * kVecSize, kVecSize);
  }
  wait_for_previous();

  const Slot<kNumRanks> slot(mailbox, static_cast<int>(blockIdx.x));
  const int64_t begin = (int64_t{row} * num_vectors + column) * kVecSize;
  Values values = {};
  if (has_vector) {
    const uint4 own = sendable(*reinterpret_cast<const uint4*>(x + begin));
    slot.send(static_cast<int>(threadIdx.x), own);
    const Values before = load<T, kVecSize>(residual + begin, kVecSize);
    uint4 vectors[kNumRanks];
    slot.receive(static_cast<int>(threadIdx.x), own, vectors);
    values = sum_of_ranks<T>(vectors);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) {
      const float sum = to_float(round_to<T>(values.values[i]));
      values.values[i] = to_float(round_to<T>(before.values[i] + sum));
    }
    store<T, kVecSize>(residual + begin, values, kVecSize);
  }

  if constexpr (kBlocksPerRow > 1) Cluster::wait();
  const auto n = static_cast<float>(num_vectors * kVecSize);
  float mean = 0;
  if constexpr (kIsLayerNorm) {
    float sum = 0;
#pragma unroll
    for (const float value : values.values) sum += value;
    mean = sum_of_row<kBlocksPerRow>(sum, warp_sums[0]) / n;
  }
  float squares = 0;
#pragma unroll
  for (const float value : values.values) squares += has_vector ? (value - mean) * (value - mean) : 0.0f;
  squares = sum_of_row<kBlocksPerRow>(squares, warp_sums[1]);
  if (threadIdx.x == 0) slot.end();  // the sum had a barrier: all have received
  if (!has_vector) return;
  const float scale = 1.0f / sqrtf(squares / n + eps);
#pragma unroll
  for (int i = 0; i < kVecSize; ++i) {
    values.values[i] = (values.values[i] - mean) * scale * weights.values[i] + biases.values[i];
  }
  store<T, kVecSize>(out + begin, values, kVecSize);
}

// Calls f.operator()<kBlocksPerRow>().
template <typename F>
void dispatch_blocks_per_row(int blocks_per_row, F&& f) {
  switch (blocks_per_row) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    default:
      return f.template operator()<4>();
  }
}

}  // namespace

void all_reduce_add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm,
                         const AllReduceNormConfig& config, const Mailbox& mailbox, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const float* const bias = norm.bias.empty() ? nullptr : norm.bias.data<float>();
  const auto num_vectors = static_cast<int>(dtype_bytes(x.dtype(), x.dim(1)) / kVecBytes);
  const auto launch = [&]<typename T, int kNumRanks, int kBlocksPerRow, bool kIsLayerNorm>() {
    launch_chained(all_reduce_add_norm_kernel<T, kNumRanks, kBlocksPerRow, kIsLayerNorm>,
                   dim3(static_cast<unsigned>(x.dim(0) * kBlocksPerRow)),
                   dim3(static_cast<unsigned>(config.num_threads)), 0, handle, static_cast<T*>(out.data()),
                   static_cast<T*>(residual.data()), static_cast<const T*>(x.data()), norm.weight.data<float>(), bias,
                   norm.eps, num_vectors, mailbox);
  };
  dispatch_float(x.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_num_ranks(mailbox.size, [&]<int kNumRanks>() {
      dispatch_blocks_per_row(config.blocks_per_row, [&]<int kBlocksPerRow>() {
        if (norm.is_layer_norm) return launch.template operator()<D, kNumRanks, kBlocksPerRow, true>();
        launch.template operator()<D, kNumRanks, kBlocksPerRow, false>();
      });
    });
  });
}

}  // namespace cohort::cuda
