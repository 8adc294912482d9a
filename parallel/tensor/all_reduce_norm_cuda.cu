#include "kernels/core/cuda_launch.cuh"
#include "parallel/comm/mailbox.cuh"
#include "parallel/tensor/all_reduce_norm_kernel.h"

namespace cohort::cuda {
namespace {

constexpr int kWarpSize = 32;
constexpr int kMaxThreads = 1024;
constexpr int kMaxWarps = kMaxThreads / kWarpSize;

// The sum over the block's threads, the same bits in each of them. Called by all threads.
__device__ float sum_of_threads(float value, float* warp_sums) {  // warp_sums: shared [kMaxWarps], of this sum alone
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  const unsigned lane = threadIdx.x % kWarpSize;
  if (lane == 0) warp_sums[threadIdx.x / kWarpSize] = value;
  __syncthreads();  // the other warps' sums are there
  value = lane < blockDim.x / kWarpSize ? warp_sums[lane] : 0.0f;
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// The thread's part of a row: vector j is vector j * blockDim.x + threadIdx.x of the row.
template <typename T, int kNumVectors>
struct ThreadRow {
  static constexpr int kVecSize = kVecBytes / sizeof(T);
  using Values = Vec<float, kVecSize>;

  int num_vectors;  // of the row
  Values values[kNumVectors];

  static __device__ int index(int j) { return static_cast<int>(j * blockDim.x + threadIdx.x); }
  __device__ bool has(int j) const { return index(j) < num_vectors; }

  // The sum over ranks of x, rounded to T.
  template <int kNumRanks>
  __device__ void set_sum(const Slot<kNumRanks>& slot, const uint4 (&own)[kNumVectors]) {
#pragma unroll
    for (int j = 0; j < kNumVectors; ++j) {
      if (!has(j)) continue;
      uint4 vectors[kNumRanks];
      slot.receive(index(j), own[j], vectors);
      values[j] = sum_of_ranks<T>(vectors);
#pragma unroll
      for (float& value : values[j].values) value = to_float(round_to<T>(value));
    }
  }

  // Adds `x`, and rounds to T.
  __device__ void add(const Vec<T, kVecSize> (&x)[kNumVectors]) {
#pragma unroll
    for (int j = 0; j < kNumVectors; ++j) {
      if (!has(j)) continue;
#pragma unroll
      for (int i = 0; i < kVecSize; ++i) {
        values[j].values[i] = to_float(round_to<T>(to_float(x[j].values[i]) + values[j].values[i]));
      }
    }
  }

  __device__ void store_to(T* row) const {
#pragma unroll
    for (int j = 0; j < kNumVectors; ++j) {
      if (has(j)) store<T, kVecSize>(row + index(j) * kVecSize, values[j], kVecSize);
    }
  }

  // The sum of f(value).
  template <typename F>
  __device__ float sum(const F& f) const {
    float total = 0;
#pragma unroll
    for (int j = 0; j < kNumVectors; ++j) {
      if (!has(j)) continue;
#pragma unroll
      for (const float value : values[j].values) total += f(value);
    }
    return total;
  }
};

template <int kVecSize, int kNumVectors>
using Weights = Vec<float, kVecSize>[kNumVectors];

// A block a row; x is this rank's term. bias may be null.
template <typename T, int kNumRanks, int kNumVectors, bool kIsLayerNorm>
__global__ void __launch_bounds__(kMaxThreads)
    all_reduce_add_norm_kernel(T* out, T* residual, const T* x, const float* weight, const float* bias, float eps,
                               int num_vectors, const __grid_constant__ Mailbox mailbox) {
  using Row = ThreadRow<T, kNumVectors>;
  constexpr int kVecSize = Row::kVecSize;
  __shared__ float warp_sums[2][kMaxWarps];
  let_next_begin();
  Row row{num_vectors, {}};
  // What no step writes comes before the wait, and with it the way to memory.
  Weights<kVecSize, kNumVectors> weights;
  Weights<kVecSize, kNumVectors> biases = {};
#pragma unroll
  for (int j = 0; j < kNumVectors; ++j) {
    if (!row.has(j)) continue;
    weights[j] = load<float, kVecSize>(weight + row.index(j) * kVecSize, kVecSize);
    if (kIsLayerNorm && bias != nullptr) {
      biases[j] = load<float, kVecSize>(bias + row.index(j) * kVecSize, kVecSize);
    }
  }
  wait_for_previous();

  const Slot<kNumRanks> slot(mailbox, static_cast<int>(blockIdx.x));
  const int64_t begin = int64_t{blockIdx.x} * num_vectors * kVecSize;
  uint4 own[kNumVectors];
  Vec<T, kVecSize> before[kNumVectors];
#pragma unroll
  for (int j = 0; j < kNumVectors; ++j) {
    if (!row.has(j)) continue;
    own[j] = sendable(reinterpret_cast<const uint4*>(x + begin)[row.index(j)]);
    slot.send(row.index(j), own[j]);
    before[j] = reinterpret_cast<const Vec<T, kVecSize>*>(residual + begin)[row.index(j)];
  }
  row.set_sum(slot, own);
  row.add(before);
  row.store_to(residual + begin);

  const auto n = static_cast<float>(num_vectors * kVecSize);
  float mean = 0;
  if constexpr (kIsLayerNorm) mean = sum_of_threads(row.sum([](float a) { return a; }), warp_sums[0]) / n;
  const float squares = sum_of_threads(row.sum([mean](float a) { return (a - mean) * (a - mean); }), warp_sums[1]);
  const float scale = 1.0f / sqrtf(squares / n + eps);
  if (threadIdx.x == 0) slot.end();  // the sums had barriers
#pragma unroll
  for (int j = 0; j < kNumVectors; ++j) {
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) {
      float& value = row.values[j].values[i];
      value = (value - mean) * scale * weights[j].values[i];
      if (kIsLayerNorm && bias != nullptr) value += biases[j].values[i];
    }
  }
  row.store_to(out + begin);
}

template <typename F>
void dispatch_bool(bool value, F&& f) {
  if (value) {
    f.template operator()<true>();
  } else {
    f.template operator()<false>();
  }
}

}  // namespace

void all_reduce_add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm,
                         const AllReduceNormConfig& config, const Mailbox& mailbox, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const float* const bias = norm.bias.empty() ? nullptr : norm.bias.data<float>();
  const auto num_vectors = static_cast<int>(dtype_bytes(x.dtype(), x.dim(1)) / kVecBytes);
  dispatch_float(x.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_num_ranks(mailbox.size, [&]<int kNumRanks>() {
      dispatch_bool(config.vectors_per_thread == 1, [&]<bool kIsOneVector>() {
        dispatch_bool(norm.is_layer_norm, [&]<bool kIsLayerNorm>() {
          launch_chained(all_reduce_add_norm_kernel < D, kNumRanks, kIsOneVector ? 1 : 2, kIsLayerNorm >,
                         dim3(static_cast<unsigned>(x.dim(0))), dim3(static_cast<unsigned>(config.num_threads)), 0,
                         handle, static_cast<D*>(out.data()), static_cast<D*>(residual.data()),
                         static_cast<const D*>(x.data()), norm.weight.data<float>(), bias, norm.eps, num_vectors,
                         mailbox);
        });
      });
    });
  });
}

}  // namespace cohort::cuda
