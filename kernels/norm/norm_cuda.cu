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
constexpr int max_threads(int num_pieces) { return num_pieces <= 2 ? 640 : num_pieces == 3 ? 768 : 512; }

constexpr int kResidentThreads = 1536;  // that a multiprocessor has registers for

constexpr int64_t kMaxHidden = int64_t{kPieceSize} * kMaxPieces * max_threads(kMaxPieces);

using Piece = Vec<float, kPieceSize>;

enum class NormKind { kRms, kLayer };

struct NormLayout {
  int num_rows;
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

// Index in the row of the first element of this thread's piece j.
__device__ int begin_of(int j) { return static_cast<int>(j * blockDim.x + threadIdx.x) * kPieceSize; }

// Elements [0, count) of a piece, the others 0. kIsWhole: vectors may be where pieces are, and rows are whole pieces.
template <bool kIsWhole, typename T>
__device__ Vec<T, kPieceSize> load_piece(const T* p, int count) {
  if constexpr (!kIsWhole) return load_bits<T, kPieceSize, false>(p, count);
  return count > 0 ? load_bits<T, kPieceSize>(p, kPieceSize) : Vec<T, kPieceSize>{};
}

template <bool kIsWhole, typename T>
__device__ void store_piece(T* p, const Piece& x, int count) {
  if constexpr (!kIsWhole) {
    store<T, kPieceSize, false>(p, x, count);
  } else if (count > 0) {
    store<T, kPieceSize>(p, x, kPieceSize);
  }
}

// What this thread has of a row of n elements, as they lie in memory: on the way while other work is done.
template <typename T, int kNumPieces, bool kIsWhole>
struct RowBits {
  Vec<T, kPieceSize> pieces[kNumPieces];  // zeros behind the end of the row

  __device__ void load_from(const T* row, int n) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      pieces[j] = load_piece<kIsWhole>(row + begin_of(j), n - begin_of(j));
    }
  }
};

// What this thread has of a row of n elements.
template <int kNumPieces>
struct ThreadRow {
  int n;
  Piece pieces[kNumPieces];  // zeros behind the end of the row

  template <bool kIsWhole, typename T>
  __device__ void load_from(int j, const T* row) {
    pieces[j] = to_float(load_piece<kIsWhole>(row + begin_of(j), n - begin_of(j)));
  }

  template <bool kIsWhole, typename T>
  __device__ void load_from(const T* row) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) load_from<kIsWhole>(j, row);
  }

  template <bool kIsWhole, typename T>
  __device__ void store_to(T* row) const {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) store_piece<kIsWhole>(row + begin_of(j), pieces[j], n - begin_of(j));
  }

  template <typename T, bool kIsWhole>
  __device__ void set(const RowBits<T, kNumPieces, kIsWhole>& bits) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) pieces[j] = to_float(bits.pieces[j]);
  }

  // Adds, and rounds to T.
  template <typename T, bool kIsWhole>
  __device__ void add(const RowBits<T, kNumPieces, kIsWhole>& bits) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      const Piece added = to_float(bits.pieces[j]);
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
        if (!kIsCentered || begin_of(j) + i < n) part = __fmaf_rn(centered, centered, part);
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
template <typename T, int kNumPieces, bool kIsWhole, NormKind kKind>
__global__ void __launch_bounds__(max_threads(kNumPieces), kKind == NormKind::kRms && kNumPieces == 1 ? 2 : 1)
    norm_kernel(T* out, T* residual, const T* x, const float* weight, const float* bias, float eps, NormLayout layout) {
  // Weights are there before the kernel before is done, and the same for all rows. A row is fetched while the one
  // before it is worked on, where a thread has registers for that.
  constexpr bool kKeepsWeights = kNumPieces * (kKind == NormKind::kLayer ? 3 : 2) <= 6;
  constexpr bool kFetchesAhead = kIsWhole && kKind == NormKind::kRms && sizeof(T) == 2 && kNumPieces <= 2;
  __shared__ float warp_sums[2][2][kMaxWarps];
  ThreadRow<kNumPieces> w{layout.hidden, {}};
  ThreadRow<kNumPieces> b{layout.hidden, {}};
  const bool has_bias = kKind == NormKind::kLayer && bias != nullptr;
  if constexpr (kKeepsWeights) {
    w.template load_from<kIsWhole>(weight);
    if (has_bias) b.template load_from<kIsWhole>(bias);
  }
  begin_chained();

  RowBits<T, kNumPieces, kIsWhole> x_bits;
  RowBits<T, kNumPieces, kIsWhole> residual_bits;
  const auto fetch = [&](int64_t row) { x_bits.load_from(x + row * layout.x_stride, layout.hidden); };
  const auto fetch_residual = [&](int64_t row) {
    if (residual != nullptr) residual_bits.load_from(residual + row * layout.residual_stride, layout.hidden);
  };
  int row = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const int row_step = static_cast<int>(gridDim.x * blockDim.y);
  if (kFetchesAhead && row < layout.num_rows) {
    fetch(row);
    fetch_residual(row);
  }

  // Rows that share a block have a warp each, and no barrier. Others alternate between two places for their sums: the
  // barrier of a row is behind what threads read of the row before it, and so before what the row after it writes.
  for (int turn = 0; row < layout.num_rows; row += row_step, turn ^= 1) {
    if constexpr (!kFetchesAhead) fetch(row);
    ThreadRow<kNumPieces> v{layout.hidden, {}};
    v.set(x_bits);
    if constexpr (!kFetchesAhead) fetch_residual(row);
    if (residual != nullptr) v.add(residual_bits);
    if (kFetchesAhead && row + row_step < layout.num_rows) {
      fetch(row + row_step);
      fetch_residual(row + row_step);
    }
    if (residual != nullptr) v.template store_to<kIsWhole>(residual + row * layout.residual_stride);

    const auto n = static_cast<float>(layout.hidden);
    constexpr bool kIsCentered = kKind == NormKind::kLayer;
    float mean = 0;
    if constexpr (kIsCentered) mean = sum_of_threads(v.sum(), warp_sums[turn][0]) / n;
    const float squares = sum_of_threads(v.template sum_squares<kIsCentered>(mean), warp_sums[turn][1]);
    const float scale = 1.0f / sqrtf(__fadd_rn(squares / n, eps));

#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      if constexpr (!kKeepsWeights) {
        w.template load_from<kIsWhole>(j, weight);
        if (has_bias) b.template load_from<kIsWhole>(j, bias);
      }
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) {
        float& value = v.pieces[j].values[i];
        if constexpr (kIsCentered) value -= mean;
        value = __fmul_rn(__fmul_rn(value, scale), w.pieces[j].values[i]);
        if (has_bias) value = __fadd_rn(value, b.pieces[j].values[i]);
      }
    }
    v.template store_to<kIsWhole>(out + row * layout.out_stride);
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

bool has_whole_pieces(const Operands& o) {
  return o.out.dim(1) % kPieceSize == 0 && is_aligned(o.out, o.out.stride(0)) && is_aligned(o.x, o.x.stride(0)) &&
         (o.residual.empty() || is_aligned(o.residual, o.residual.stride(0))) && is_aligned(o.weight.data()) &&
         (o.bias.empty() || is_aligned(o.bias.data()));
}

template <NormKind kKind>
void norm(const Operands& o, float eps, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const NormConfig config = choose_config(o.out.dim(1));
  const NormLayout layout{static_cast<int>(o.out.dim(0)), static_cast<int>(o.out.dim(1)), o.out.stride(0),
                          o.residual.empty() ? 0 : o.residual.stride(0), o.x.stride(0)};
  const dim3 block(static_cast<unsigned>(config.num_threads), static_cast<unsigned>(config.rows_per_block));
  const int max_blocks =
      num_multiprocessors(stream) * std::max(1, kResidentThreads / static_cast<int>(block.x * block.y));
  const dim3 grid(static_cast<unsigned>(std::min(ceil_div(layout.num_rows, config.rows_per_block), max_blocks)));
  const float* const bias = o.bias.empty() ? nullptr : o.bias.data<float>();
  dispatch_float(o.out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    D* const residual = o.residual.empty() ? nullptr : static_cast<D*>(o.residual.data());
    dispatch_num_pieces(config.num_pieces, [&]<int kNumPieces>() {
      const auto kernel =
          has_whole_pieces(o) ? norm_kernel<D, kNumPieces, true, kKind> : norm_kernel<D, kNumPieces, false, kKind>;
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
