#include "kernels/core/cuda_launch.cuh"
#include "parallel/comm/mailbox.cuh"
#include "parallel/tensor/all_reduce_norm_kernel.h"
#include "parallel/tensor/row_sum.cuh"

namespace cohort::cuda {
namespace {

constexpr int kMaxThreads = 1024;

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
  if (config.algorithm == AllReduceAlgorithm::kTwoShot) {
    return two_shot_add_norm(out, residual, x, norm, config, mailbox, stream);
  }
  const cudaStream_t handle = enter(stream);
  const float* const bias = norm.bias.empty() ? nullptr : norm.bias.data<float>();
  const auto num_vectors = static_cast<int>(dtype_bytes(x.dtype(), x.dim(1)) / kVecBytes);
  const auto launch = [&]<typename T, int kNumRanks, int kBlocksPerRow, bool kIsLayerNorm>() {
    launch_chained(all_reduce_add_norm_kernel<T, kNumRanks, kBlocksPerRow, kIsLayerNorm>,
                   dim3(static_cast<unsigned>(config.num_blocks)), dim3(static_cast<unsigned>(config.num_threads)), 0,
                   handle, static_cast<T*>(out.data()), static_cast<T*>(residual.data()),
                   static_cast<const T*>(x.data()), norm.weight.data<float>(), bias, norm.eps, num_vectors, mailbox);
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
