// What the tiled kernels share: operands, the canonical tree, the store. Internal; only for files that are compiled
// with CUDA.
#pragma once

#include <cstdint>

#include "kernels/core/cuda_vector.cuh"
#include "kernels/gemm/kernels_cuda.h"

namespace cohort::cuda {

template <typename T, typename Out>
struct TiledArgs {
  Out* out;           // [num_rows, n]
  const T* x;         // [num_rows, k]
  const T* weight;    // [n, k]
  const float* bias;  // [n], or null
  int64_t num_rows;
  int64_t n;
  int64_t k;
  int64_t x_stride;
  int64_t out_stride;
  int num_chunks;
  int64_t chunk_k;  // elements of K in a chunk

  __device__ void store(int64_t row, int64_t column, float sum) const {
    if (row >= num_rows || column >= n) return;
    if (bias != nullptr) sum += bias[column];
    out[row * out_stride + column] = round_to<Out>(sum);
  }
};

// A block's way along K: chunk after chunk, in steps of kStepK elements, the last of a chunk with what is left.
template <int kStepK>
struct ChunkSteps {
  int64_t chunk_k;
  int steps_per_chunk;
  int num_steps;

  template <typename Args>
  __device__ explicit ChunkSteps(const Args& args)
      : chunk_k(args.chunk_k),
        steps_per_chunk(static_cast<int>((args.chunk_k + kStepK - 1) / kStepK)),
        num_steps(steps_per_chunk * args.num_chunks) {}

  __device__ int chunk(int step) const { return step / steps_per_chunk; }
  __device__ int64_t begin(int step) const { return chunk(step) * chunk_k + step % steps_per_chunk * int64_t{kStepK}; }
  __device__ int64_t end(int step) const { return (chunk(step) + 1) * chunk_k; }  // of the chunk
  __device__ bool closes_chunk(int step) const { return step % steps_per_chunk == steps_per_chunk - 1; }
};

// Sums of finished subtrees that wait for their sibling, one of each level.
template <int kLevels, int kSums>
struct SumTree {
  float pending[kLevels > 0 ? kLevels : 1][kSums];

  // `sums` of chunk `chunk` becomes that of the largest subtree that it completes: of all once the last is added.
  __device__ void add(float (&sums)[kSums], int chunk) {
    bool is_complete = true;
#pragma unroll
    for (int level = 0; level < kLevels; ++level) {  // indices known when compiling, so that all stays in registers
      const bool is_right = (chunk >> level & 1) != 0;
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const float left = pending[level][i];
        if (is_complete && !is_right) pending[level][i] = sums[i];
        if (is_complete && is_right) sums[i] = left + sums[i];
      }
      is_complete = is_complete && is_right;
    }
  }
};

inline constexpr int kMaxTreeLevels = 4;  // under the root of PackedWeight::kMaxCudaChunks
static_assert(PackedWeight::kMaxCudaChunks == 1 << kMaxTreeLevels);

template <typename T, typename Out>
TiledArgs<T, Out> tiled_args(const TensorView& out, const ConstTensorView& x, const PackedWeight& weight,
                             const ConstTensorView& bias) {
  const int num_chunks = weight.mode() == GemmMode::kDeterministic ? weight.num_chunks() : 1;
  return {.out = static_cast<Out*>(out.data()),
          .x = static_cast<const T*>(x.data()),
          .weight = static_cast<const T*>(weight.data()),
          .bias = bias.empty() ? nullptr : bias.data<float>(),
          .num_rows = x.dim(0),
          .n = weight.n(),
          .k = weight.k(),
          .x_stride = x.stride(0),
          .out_stride = out.stride(0),
          .num_chunks = num_chunks,
          .chunk_k = weight.k() / num_chunks};
}

// tiled_f32_cuda.cu: run_tiled_gemm() for float32.
void run_tiled_f32_gemm(const TensorView& out, const ConstTensorView& x, const PackedWeight& weight,
                        const ConstTensorView& bias, const Stream& stream);

}  // namespace cohort::cuda
