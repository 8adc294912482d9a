#include <string>

#include "kernels/core/cuda_check.h"
#include "kernels/core/cuda_vector.cuh"
#include "kernels/norm/norm_backends.h"

namespace cohort::cuda {
namespace {

// A row's elements go to its threads in pieces of 8, piece j to thread j % num_threads, for every dtype and alignment:
// the order of a sum depends on `hidden` alone.
constexpr int kPieceSize = 8;
constexpr int kMaxPieces = 8;     // of a thread
constexpr int kMaxThreads = 512;  // of a row; leaves a thread registers for kMaxPieces
constexpr int kWarpSize = 32;
constexpr int kMaxWarps = kMaxThreads / kWarpSize;
constexpr int64_t kMaxHidden = int64_t{kPieceSize} * kMaxPieces * kMaxThreads;

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
  __device__ void load_from(const T* row) {
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) pieces[j] = load<T, kPieceSize, kIsAligned>(row + begin(j), n - begin(j));
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

  // The sum of f(element) over the thread's elements.
  template <typename F>
  __device__ float sum(const F& f) const {
    float total = 0;
#pragma unroll
    for (int j = 0; j < kNumPieces; ++j) {
      float part = 0;
#pragma unroll
      for (int i = 0; i < kPieceSize; ++i) {
        if (begin(j) + i < n) part = f(part, pieces[j].values[i]);
      }
      total += part;
    }
    return total;
  }
};

// residual and bias may be null. A product that is then added to is rounded first, as on the CPU.
template <typename T, int kNumPieces, bool kIsAligned, NormKind kKind>
__global__ void __launch_bounds__(kMaxThreads)
    norm_kernel(T* out, T* residual, const T* x, const float* weight, const float* bias, float eps, NormLayout layout) {
  __shared__ float warp_sums[2][kMaxWarps];
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= layout.num_rows) return;  // a whole warp: rows that share a block have one each, and no barrier

  ThreadRow<kNumPieces> v{layout.hidden, {}};
  v.template load_from<kIsAligned>(x + row * layout.x_stride);
  if (residual != nullptr) {
    T* const into = residual + row * layout.residual_stride;
    v.template add<kIsAligned>(static_cast<const T*>(into));
    v.template store_to<kIsAligned>(into);
  }

  const auto n = static_cast<float>(layout.hidden);
  float mean = 0;
  if constexpr (kKind == NormKind::kLayer) {
    mean = sum_of_threads(v.sum([](float sum, float a) { return sum + a; }), warp_sums[0]) / n;
  }
  const float squares = sum_of_threads(v.sum([&](float sum, float a) {
    const float centered = kKind == NormKind::kLayer ? a - mean : a;
    return __fmaf_rn(centered, centered, sum);
  }),
                                       warp_sums[1]);
  const float scale = 1.0f / sqrtf(__fadd_rn(squares / n, eps));

#pragma unroll
  for (int j = 0; j < kNumPieces; ++j) {
    const int begin = v.begin(j);
    const int count = layout.hidden - begin;
    const Piece w = load<float, kPieceSize, kIsAligned>(weight + begin, count);
    Piece b = {};
    if (kKind == NormKind::kLayer && bias != nullptr) b = load<float, kPieceSize, kIsAligned>(bias + begin, count);
#pragma unroll
    for (int i = 0; i < kPieceSize; ++i) {
      float& value = v.pieces[j].values[i];
      if constexpr (kKind == NormKind::kLayer) value -= mean;
      value = __fmul_rn(__fmul_rn(value, scale), w.values[i]);
      if (kKind == NormKind::kLayer && bias != nullptr) value = __fadd_rn(value, b.values[i]);
    }
  }
  v.template store_to<kIsAligned>(out + row * layout.out_stride);
}

struct NormConfig {
  int num_threads;  // of a row
  int num_pieces;   // of a thread: 1, 2, 4 or 8
  int rows_per_block;
};

// Of `hidden` alone, which makes a row's bits so. One piece a thread up to 256 threads, then up to four; rows of one
// warp share a block.
NormConfig choose_config(int64_t hidden) {
  COHORT_CHECK(hidden <= kMaxHidden, std::to_string(hidden) + " elements, at most " + std::to_string(kMaxHidden));
  const auto num_pieces = static_cast<int>((hidden + kPieceSize - 1) / kPieceSize);
  NormConfig config{kWarpSize, 1, 1};
  while (config.num_threads < 256 && config.num_threads < num_pieces) config.num_threads *= 2;
  if (num_pieces > 4 * config.num_threads) config.num_threads = kMaxThreads;
  while (config.num_threads * config.num_pieces < num_pieces) config.num_pieces *= 2;
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
    case 4:
      return f.template operator()<4>();
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
  const dim3 grid(static_cast<unsigned>((layout.num_rows + block.y - 1) / block.y));
  const float* const bias = o.bias.empty() ? nullptr : o.bias.data<float>();
  dispatch_float(o.out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    D* const residual = o.residual.empty() ? nullptr : static_cast<D*>(o.residual.data());
    dispatch_num_pieces(config.num_pieces, [&]<int kNumPieces>() {
      const auto kernel =
          has_aligned_pieces(o) ? norm_kernel<D, kNumPieces, true, kKind> : norm_kernel<D, kNumPieces, false, kKind>;
      kernel<<<grid, block, 0, handle>>>(static_cast<D*>(o.out.data()), residual, static_cast<const D*>(o.x.data()),
                                         o.weight.data<float>(), bias, eps, layout);
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
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
