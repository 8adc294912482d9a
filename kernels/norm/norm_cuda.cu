#include <string>

#include "kernels/core/cuda_rows.cuh"
#include "kernels/norm/norm_backends.h"

namespace cohort::cuda {
namespace {

// A row's elements go to its threads in pieces of 8, piece j to thread j % num_threads, for every dtype and alignment:
// the order of a sum depends on `hidden` alone.
constexpr int kPieceSize = 8;
constexpr int kMaxPieces = 8;  // of a thread
constexpr int kWarpSize = 32;
constexpr int kMaxWarps = 32;

// Threads of a row of which each has num_pieces pieces, at most: a thread needs registers for its pieces, and, up to
// three pieces, for their weights.
constexpr int max_threads(int num_pieces) { return num_pieces == 1 ? 1024 : num_pieces <= 3 ? 768 : 512; }

constexpr int64_t kMaxHidden = int64_t{kPieceSize} * kMaxPieces * max_threads(kMaxPieces);

using Piece = Vec<float, kPieceSize>;

enum class NormKind { kRms, kLayer };

struct NormLayout {
  int64_t num_rows;
  int hidden;
  int64_t out_stride;
  int64_t residual_stride;  // not read without a residual
  int64_t x_stride;
};

// The sum of the row's threads' values, the same bits in each of them: by halves within warps, then over the warps'
// sums. Called by all threads of a row of more than one warp.
__device__ float sum_of_threads(float value, float* warp_sums) {  // warp_sums: shared [kMaxWarps], of this sum alone
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if (blockDim.x == kWarpSize) return value;
  const unsigned lane = threadIdx.x % kWarpSize;
  if (lane == 0) warp_sums[threadIdx.x / kWarpSize] = value;
  __syncthreads();  // the other warps' sums are there
  value = lane < blockDim.x / kWarpSize ? warp_sums[lane] : 0.0f;
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// What this thread has of a row of n elements.
template <int kNumPieces>
struct ThreadRow {
  int n;
  Piece pieces[kNumPieces];  // zeros behind the end of the row

  // Index in the row of the first element of piece j.
  static __device__ int begin(int j) { return static_cast<int>(j * blockDim.x + threadIdx.x) * kPieceSize; }

  template <bool kIsAligned, typename T>
  __device__ void load_piece(int j, const T* row) {
    pieces[j] = load<T, kPieceSize, kIsAligned>(row + begin(j), n - begin(j));
  }

  template <bool kIsAligned, typename T>
  __device__ void load_from(const T* row) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) load_piece<kIsAligned>(j, row);
  }

  template <bool kIsAligned, typename T>
  __device__ void store_to(T* row) const {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) store<T, kPieceSize, kIsAligned>(row + begin(j), pieces[j], n - begin(j));
  }

  // Adds `row`, and rounds to T.
  template <bool kIsAligned, typename T>
  __device__ void add(const T* row) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      const Piece added = load<T, kPieceSize, kIsAligned>(row + begin(j), n - begin(j));
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) {
        pieces[j].values[i] = to_float(round_to<T>(pieces[j].values[i] + added.values[i]));
      }
    }
  }

  // The sum of (element - mean)^2 over the thread's elements; without a mean, zeros behind the row's end add nothing.
  template <bool kIsCentered>
  __device__ float sum_squares(float mean) const {
    float total = 0;
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      float part = 0;
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) {
        const float centered = kIsCentered ? pieces[j].values[i] - mean : pieces[j].values[i];
        if (!kIsCentered || begin(j) + i < n) part = __fmaf_rn(centered, centered, part);
      }
      total += part;
    }
    return total;
  }

  __device__ float sum() const {
    float total = 0;
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      float part = 0;
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) part += pieces[j].values[i];
      total += part;
    }
    return total;
  }
};

// residual and bias may be null. A product that is then added to is rounded first, as on the CPU.
template <typename T, int kNumPieces, bool kIsAligned, NormKind kKind>
__global__ void __launch_bounds__(max_threads(kNumPieces))
    norm_kernel(T* out, T* residual, const T* x, const float* weight, const float* bias, float eps, NormLayout layout) {
  // Weights are there before the kernel before is done, and the same for all rows.
  constexpr bool kKeepsWeights = kNumPieces * (kKind == NormKind::kLayer ? 3 : 2) <= 6;
  __shared__ float warp_sums[2][2][kMaxWarps];
  ThreadRow<kNumPieces> w{layout.hidden, {}};
  ThreadRow<kNumPieces> b{layout.hidden, {}};
  const bool has_bias = kKind == NormKind::kLayer && bias != nullptr;
  if constexpr (kKeepsWeights) {
    w.template load_from<kIsAligned>(weight);
    if (has_bias) b.template load_from<kIsAligned>(bias);
  }
  begin_chained();

  // Rows that share a block have a warp each, and no barrier. Others alternate between two places for their sums: the
  // barrier of a row is behind what threads read of the row before it, and so before what the row after it writes.
  int turn = 0;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; row < layout.num_rows;
       row += int64_t{gridDim.x} * blockDim.y, turn ^= 1) {
    ThreadRow<kNumPieces> v{layout.hidden, {}};
    v.template load_from<kIsAligned>(x + row * layout.x_stride);
    if (residual != nullptr) {
      T* const into = residual + row * layout.residual_stride;
      v.template add<kIsAligned>(static_cast<const T*>(into));
      v.template store_to<kIsAligned>(into);
    }

    const auto n = static_cast<float>(layout.hidden);
    constexpr bool kIsCentered = kKind == NormKind::kLayer;
    float mean = 0;
    if constexpr (kIsCentered) mean = sum_of_threads(v.sum(), warp_sums[turn][0]) / n;
    const float squares = sum_of_threads(v.template sum_squares<kIsCentered>(mean), warp_sums[turn][1]);
    const float scale = 1.0f / sqrtf(__fadd_rn(squares / n, eps));

#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      if constexpr (!kKeepsWeights) {
        w.template load_piece<kIsAligned>(j, weight);
        if (has_bias) b.template load_piece<kIsAligned>(j, bias);
      }
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) {
        float& value = v.pieces[j].values[i];
        if constexpr (kIsCentered) value -= mean;
        value = __fmul_rn(__fmul_rn(value, scale), w.pieces[j].values[i]);
        if (has_bias) value = __fadd_rn(value, b.pieces[j].values[i]);
      }
    }
    v.template store_to<kIsAligned>(out + row * layout.out_stride);
  }
}

struct NormConfig {
  int num_threads;  // of a row
  int num_pieces;   // of a thread
  int rows_per_block;
};

// Of `hidden` alone, which makes a row's bits so: 1, 2, 3 or 8 pieces a thread, as few as there can be. Rows of one
// warp share a block.
NormConfig choose_config(int64_t hidden) {
  COHORT_CHECK(hidden <= kMaxHidden, std::to_string(hidden) + " elements, at most " + std::to_string(kMaxHidden));
  NormConfig config{0, 0, 1};
  do {
    config.num_pieces = config.num_pieces < 3 ? config.num_pieces + 1 : kMaxPieces;
    config.num_threads = ceil_div(hidden, kPieceSize * config.num_pieces * kWarpSize) * kWarpSize;
  } while (config.num_threads > max_threads(config.num_pieces));
  if (config.num_threads == kWarpSize) config.rows_per_block = 8;
  return config;
}

// Calls f.operator()<kNumPieces>().
template <typename F>
void dispatch_num_pieces(int num_pieces, F&& f) {
  switch (num_pieces) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    default:
      return f.template operator()<kMaxPieces>();
  }
}

struct Operands {
  TensorView out;          // [num_tokens, hidden]
  TensorView residual;     // likewise, or empty
  ConstTensorView x;       // likewise
  ConstTensorView weight;  // [hidden]
  ConstTensorView bias;    // [hidden], or empty
};

// Whether vectors may be where the rows' pieces are.
bool has_aligned_pieces(const Operands& o) {
  return is_aligned(o.out, o.out.stride(0)) && is_aligned(o.x, o.x.stride(0)) &&
         (o.residual.empty() || is_aligned(o.residual, o.residual.stride(0))) && is_aligned(o.weight.data()) &&
         (o.bias.empty() || is_aligned(o.bias.data()));
}

template <NormKind kKind>
void norm(const Operands& o, float eps, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const NormConfig config = choose_config(o.out.dim(1));
  const NormLayout layout{o.out.dim(0), static_cast<int>(o.out.dim(1)), o.out.stride(0),
                          o.residual.empty() ? 0 : o.residual.stride(0), o.x.stride(0)};
  const dim3 block(static_cast<unsigned>(config.num_threads), static_cast<unsigned>(config.rows_per_block));
  const int max_blocks = num_multiprocessors(stream) * (kMultiprocessorThreads / static_cast<int>(block.x * block.y));
  const dim3 grid(static_cast<unsigned>(std::min(ceil_div(layout.num_rows, config.rows_per_block), max_blocks)));
  const float* const bias = o.bias.empty() ? nullptr : o.bias.data<float>();
  dispatch_float(o.out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    D* const residual = o.residual.empty() ? nullptr : static_cast<D*>(o.residual.data());
    dispatch_num_pieces(config.num_pieces, [&]<int kNumPieces>() {
      const auto kernel =
          has_aligned_pieces(o) ? norm_kernel<D, kNumPieces, true, kKind> : norm_kernel<D, kNumPieces, false, kKind>;
      launch_chained(kernel, grid, block, 0, handle, static_cast<D*>(o.out.data()), residual,
                     static_cast<const D*>(o.x.data()), o.weight.data<float>(), bias, eps, layout);
    });
  });
}

}  // namespace

void rms_norm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, Stream& stream) {
  norm<NormKind::kRms>({out, {}, x, weight, {}}, eps, stream);
}

void add_rms_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight, float eps,
                  Stream& stream) {
  norm<NormKind::kRms>({out, residual, x, weight, {}}, eps, stream);
}

void layer_norm(TensorView out, ConstTensorView x, ConstTensorView weight, ConstTensorView bias, float eps,
                Stream& stream) {
  norm<NormKind::kLayer>({out, {}, x, weight, bias}, eps, stream);
}

void add_layer_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                    ConstTensorView bias, float eps, Stream& stream) {
  norm<NormKind::kLayer>({out, residual, x, weight, bias}, eps, stream);
}

}  // namespace cohort::cuda
