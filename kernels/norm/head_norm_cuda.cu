#include <string>

#include "kernels/core/cuda_rows.cuh"
#include "kernels/norm/head_norm_backends.h"

namespace cohort::cuda {
namespace {

// A warp has a head: its elements go to the lanes in pieces of 4, piece j to lane j % 32, for every dtype and
// alignment, so that the order of a sum depends on head_dim alone.
constexpr int kPieceSize = 4;
constexpr int kWarpSize = 32;
constexpr int kWarpElements = kPieceSize * kWarpSize;
constexpr int kMaxPieces = 8;  // of a lane
constexpr int kMaxHeadDim = kWarpElements * kMaxPieces;
constexpr int kWarpsPerBlock = 8;

// q or k.
template <typename T>
struct Heads {
  T* x;                 // [num_tokens, num_heads, head_dim], or null for none
  const float* weight;  // [head_dim]
  int num_heads;
  int64_t token_stride;
  int64_t head_stride;
};

// The sum of the lanes' values, the same bits in each.
__device__ float sum_of_lanes(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// Block row y has the heads of token y, y + gridDim.y, ...
template <typename T, int kNumPieces, bool kIsAligned>
__global__ void __launch_bounds__(kWarpsPerBlock* kWarpSize)
    head_norm_kernel(Heads<T> q, Heads<T> k, int num_tokens, int head_dim, float eps) {
  using Piece = Vec<float, kPieceSize>;
  let_next_begin();
  const int lane = static_cast<int>(threadIdx.x);
  const int head = static_cast<int>(blockIdx.x * kWarpsPerBlock + threadIdx.y);
  const bool is_q = head < q.num_heads;
  Heads<T> heads = k;
  if (is_q) heads = q;
  const int index = is_q ? head : head - q.num_heads;
  const bool has_head = index < heads.num_heads;
  Piece w[kNumPieces];  // which no step writes
#pragma unroll
  for (int j = 0; j < kNumPieces; ++j) {
    const int begin = (j * kWarpSize + lane) * kPieceSize;
    w[j] = load<float, kPieceSize, kIsAligned>(heads.weight + begin, has_head ? head_dim - begin : 0);
  }
  wait_for_previous();
  if (!has_head) return;
  for (int64_t token = blockIdx.y; token < num_tokens; token += gridDim.y) {
    T* const x = heads.x + token * heads.token_stride + index * heads.head_stride;
    Piece v[kNumPieces];
    float squares = 0;
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      const int begin = (j * kWarpSize + lane) * kPieceSize;
      v[j] = load<T, kPieceSize, kIsAligned>(x + begin, head_dim - begin);
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) squares = __fmaf_rn(v[j].values[i], v[j].values[i], squares);
    }
    squares = sum_of_lanes(squares);
    const float scale = 1.0f / sqrtf(__fadd_rn(squares / static_cast<float>(head_dim), eps));
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      const int begin = (j * kWarpSize + lane) * kPieceSize;
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) {
        v[j].values[i] = __fmul_rn(__fmul_rn(v[j].values[i], scale), w[j].values[i]);
      }
      store<T, kPieceSize, kIsAligned>(x + begin, v[j], head_dim - begin);
    }
  }
}

template <typename T>
Heads<T> heads_of(const TensorView& x, const ConstTensorView& weight) {
  if (x.empty()) return {nullptr, nullptr, 0, 0, 0};
  return {static_cast<T*>(x.data()), weight.data<float>(), static_cast<int>(x.dim(1)), x.stride(0), x.stride(1)};
}

// Calls f.operator()<kNumPieces>() with the fewest pieces that a head fits into.
template <typename F>
void dispatch_num_pieces(int64_t head_dim, F&& f) {
  if (head_dim <= kWarpElements) return f.template operator()<1>();
  if (head_dim <= 2 * kWarpElements) return f.template operator()<2>();
  f.template operator()<kMaxPieces>();
}

bool has_aligned_pieces(const ConstTensorView& x, const ConstTensorView& weight) {
  return x.empty() || (has_aligned_heads(x) && is_aligned(weight.data()));
}

}  // namespace

void head_rms_norm(TensorView q, TensorView k, ConstTensorView q_weight, ConstTensorView k_weight, float eps,
                   Stream& stream) {
  const TensorView& either = q.empty() ? k : q;
  const int64_t head_dim = either.dim(2);
  COHORT_CHECK(head_dim <= kMaxHeadDim, std::to_string(head_dim) + ", at most " + std::to_string(kMaxHeadDim));
  const cudaStream_t handle = enter(stream);
  const int64_t num_heads = (q.empty() ? 0 : q.dim(1)) + (k.empty() ? 0 : k.dim(1));
  const dim3 grid(static_cast<unsigned>(ceil_div(num_heads, kWarpsPerBlock)),
                  static_cast<unsigned>(std::min<int64_t>(either.dim(0), 65535)));
  const bool is_vectorized = has_aligned_pieces(q, q_weight) && has_aligned_pieces(k, k_weight);
  dispatch_float(either.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_num_pieces(head_dim, [&]<int kNumPieces>() {
      const auto kernel =
          is_vectorized ? head_norm_kernel<D, kNumPieces, true> : head_norm_kernel<D, kNumPieces, false>;
      launch_chained(kernel, grid, dim3(kWarpSize, kWarpsPerBlock), 0, handle, heads_of<D>(q, q_weight),
                     heads_of<D>(k, k_weight), static_cast<int>(either.dim(0)), static_cast<int>(head_dim), eps);
    });
  });
}

}  // namespace cohort::cuda
