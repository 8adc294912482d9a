#include "kernels/core/cuda_launch.cuh"
#include "parallel/comm/mailbox.cuh"
#include "parallel/tensor/all_reduce_norm_kernel.h"
#include "parallel/tensor/row_sum.cuh"

namespace cohort::cuda {
namespace {

// Of a block, and of as many as a multiprocessor has registers for: a thread has vectors of all ranks' parts.
template <int kNumRanks>
constexpr int kMaxThreads = kNumRanks == 2 ? 1024 : 512;

// Counts of vectors.
struct TwoShotLayout {
  int num_rows;
  int width;  // of a row
  int part;   // of the row that a rank sums: rank r columns [r * part, (r + 1) * part), as far as there are so many
};

__device__ inline void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

// What no kernel writes: these loads may go ahead of stores.
template <int kCount>
__device__ Vec<float, kCount> load_constants(const float* p) {
  Vec<float, kCount> x;
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    *reinterpret_cast<float4*>(&x.values[i]) = __ldg(reinterpret_cast<const float4*>(p + i));
  }
  return x;
}

// A vector of floats as it lies in memory.
template <typename T>
__device__ uint4 rounded(const Vec<float, kVecBytes / sizeof(T)>& x) {
  uint4 bits;
  store<T, kVecBytes / sizeof(T)>(reinterpret_cast<T*>(&bits), x, kVecBytes / sizeof(T));
  return bits;
}

// Thread t of a block has vector t of each rank's part of the row. Parts are of one width: what a row has less, counts
// as zeros and travels with the rest. x is this rank's term; bias may be null.
template <typename T, int kNumRanks, bool kIsLayerNorm>
__global__ void __launch_bounds__(kMaxThreads<kNumRanks>)
    two_shot_add_norm_kernel(T* out, T* residual, const T* x, const float* weight, const float* bias, float eps,
                             TwoShotLayout layout, const __grid_constant__ Mailbox mailbox) {
  constexpr int kVecSize = kVecBytes / sizeof(T);
  using Values = Vec<float, kVecSize>;
  // Of the mean and of the squares. In turn: a row's are written while others of the block still read the last row's.
  __shared__ float warp_sums[2][2][kMaxThreads<kNumRanks> / kWarpSize];
  let_next_begin();
  const auto t = static_cast<int>(threadIdx.x);
  const auto column = [&](int part) { return part * layout.part + t; };
  const auto has_vector = [&](int part) { return t < layout.part && column(part) < layout.width; };
#pragma unroll
  for (int p = 0; p < kNumRanks; ++p) {
    if (has_vector(p)) prefetch(weight + column(p) * kVecSize);
    if (has_vector(p) && kIsLayerNorm && bias != nullptr) prefetch(bias + column(p) * kVecSize);
  }
  wait_for_previous();

  Slot<kNumRanks> slot(mailbox, static_cast<int>(blockIdx.x));
  const auto n = static_cast<float>(layout.width * kVecSize);
  int parity = 0;
  for (auto row = static_cast<int>(blockIdx.x); row < layout.num_rows; row += static_cast<int>(gridDim.x)) {
    if (row != static_cast<int>(blockIdx.x)) slot.begin_next();
    const int64_t begin = int64_t{row} * layout.width;
    uint4 vectors[kNumRanks] = {};
    if (t < layout.part) {
      const uint4* const own = reinterpret_cast<const uint4*>(x) + begin;
      const auto peer = [&](int step) { return (mailbox.rank + step) % kNumRanks; };
      uint4 terms[kNumRanks];  // of this rank and those after it: loaded all at once, and then sent
#pragma unroll
      for (int step = 0; step < kNumRanks; ++step) {
        const int p = peer(step);
        terms[step] = has_vector(p) ? sendable(own[column(p)]) : uint4{0, 0, 0, 0};
      }
#pragma unroll
      for (int step = 1; step < kNumRanks; ++step) slot.send_to(peer(step), t, terms[step]);
      slot.receive(t, terms[0], vectors);
      const uint4 sum = sendable(rounded<T>(sum_of_ranks<T>(vectors)));
      slot.send(layout.part + t, sum);
      uint4* const rows = reinterpret_cast<uint4*>(residual) + begin;
      uint4 before[kNumRanks];
#pragma unroll
      for (int p = 0; p < kNumRanks; ++p) before[p] = has_vector(p) ? rows[column(p)] : uint4{0, 0, 0, 0};
      slot.receive(layout.part + t, sum, vectors);
#pragma unroll
      for (int p = 0; p < kNumRanks; ++p) {
        const uint4 both[2] = {before[p], vectors[p]};
        vectors[p] = rounded<T>(sum_of_ranks<T>(both));
        if (has_vector(p)) rows[column(p)] = vectors[p];
      }
    }

    const auto values_of = [&](int p) { return load<T, kVecSize>(reinterpret_cast<const T*>(&vectors[p]), kVecSize); };
    float mean = 0;
    if constexpr (kIsLayerNorm) {
      float sum = 0;
#pragma unroll
      for (int p = 0; p < kNumRanks; ++p) {
        for (const float value : values_of(p).values) sum += value;
      }
      mean = sum_of_row<1>(sum, warp_sums[parity][0]) / n;
    }
    float squares = 0;
#pragma unroll
    for (int p = 0; p < kNumRanks; ++p) {
      for (const float value : values_of(p).values) squares += has_vector(p) ? (value - mean) * (value - mean) : 0.0f;
    }
    squares = sum_of_row<1>(squares, warp_sums[parity][1]);  // which has a barrier: all have received
    parity ^= 1;
    const float scale = 1.0f / sqrtf(squares / n + eps);
#pragma unroll
    for (int p = 0; p < kNumRanks; ++p) {
      if (!has_vector(p)) continue;
      Values values = values_of(p);
      const Values weights = load_constants<kVecSize>(weight + column(p) * kVecSize);
      Values biases = {};
      if (kIsLayerNorm && bias != nullptr) biases = load_constants<kVecSize>(bias + column(p) * kVecSize);
#pragma unroll
      for (int i = 0; i < kVecSize; ++i) {
        values.values[i] = (values.values[i] - mean) * scale * weights.values[i] + biases.values[i];
      }
      reinterpret_cast<uint4*>(out)[begin + column(p)] = rounded<T>(values);
    }
  }
  if (t == 0) slot.end();
}

}  // namespace

void two_shot_add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm,
                       const AllReduceNormConfig& config, const Mailbox& mailbox, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const float* const bias = norm.bias.empty() ? nullptr : norm.bias.data<float>();
  const auto width = static_cast<int>(dtype_bytes(x.dtype(), x.dim(1)) / kVecBytes);
  const TwoShotLayout layout{static_cast<int>(x.dim(0)), width, (width + mailbox.size - 1) / mailbox.size};
  const auto launch = [&]<typename T, int kNumRanks, bool kIsLayerNorm>() {
    launch_chained(two_shot_add_norm_kernel<T, kNumRanks, kIsLayerNorm>, dim3(static_cast<unsigned>(config.num_blocks)),
                   dim3(static_cast<unsigned>(config.num_threads)), 0, handle, static_cast<T*>(out.data()),
                   static_cast<T*>(residual.data()), static_cast<const T*>(x.data()), norm.weight.data<float>(), bias,
                   norm.eps, layout, mailbox);
  };
  dispatch_float(x.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_num_ranks(mailbox.size, [&]<int kNumRanks>() {
      if (norm.is_layer_norm) return launch.template operator()<D, kNumRanks, true>();
      launch.template operator()<D, kNumRanks, false>();
    });
  });
}

}  // namespace cohort::cuda
