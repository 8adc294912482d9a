#include <limits>

#include "kernels/core/cuda_check.h"
#include "kernels/core/cuda_vector.cuh"
#include "kernels/position/rotary_backends.h"

namespace cohort::cuda {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kTilePairs = 512;  // pairs whose cosines a block holds at a time; more take turns

// Of a token. Strides in elements, from token to token and from head to head.
struct HeadsLayout {
  int num_pairs;  // rotary_dim / 2
  int num_q_heads;
  int num_k_heads;
  int64_t q_token_stride;
  int64_t q_head_stride;
  int64_t k_token_stride;
  int64_t k_head_stride;
};

// `dynamic`: lengths beyond max_position have frequencies of their own.
struct DynamicScaling {
  int64_t max_position;  // larger than every length without this scaling
  double theta;
  double factor;
  double rotary_dim;

  // As compute_inv_freq() of rotary.cc has it.
  __device__ float inv_freq(int64_t length, int pair) const {
    const double growth = factor * static_cast<double>(length) / static_cast<double>(max_position) - (factor - 1);
    const double grown_theta = theta * pow(growth, rotary_dim / (rotary_dim - 2));
    return static_cast<float>(1.0 / pow(grown_theta, 2.0 * pair / rotary_dim));
  }
};

// Turns kPairs pairs (a[i], b[i]). Every product and sum is rounded, as on the CPU.
template <int kPairs>
__device__ void turn(Vec<float, kPairs>& a, Vec<float, kPairs>& b, const float* cosines, const float* sines) {
  const auto cos = load<float, kPairs>(cosines, kPairs);
  const auto sin = load<float, kPairs>(sines, kPairs);
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const float x = a.values[i];
    const float y = b.values[i];
    a.values[i] = __fsub_rn(__fmul_rn(x, cos.values[i]), __fmul_rn(y, sin.values[i]));
    b.values[i] = __fadd_rn(__fmul_rn(y, cos.values[i]), __fmul_rn(x, sin.values[i]));
  }
}

// Turns kPairs pairs (x[i], y[i]).
template <typename T, int kPairs>
__device__ void turn_halves(T* x, T* y, const float* cosines, const float* sines) {
  auto a = load<T, kPairs>(x, kPairs);
  auto b = load<T, kPairs>(y, kPairs);
  turn<kPairs>(a, b, cosines, sines);
  store<T, kPairs>(x, a, kPairs);
  store<T, kPairs>(y, b, kPairs);
}

// Turns kPairs pairs (x[2 i], x[2 i + 1]).
template <typename T, int kPairs>
__device__ void turn_interleaved(T* x, const float* cosines, const float* sines) {
  constexpr bool kIsAligned = kPairs > 1;  // a lone pair is where two elements need not be
  auto both = load<T, 2 * kPairs, kIsAligned>(x, 2 * kPairs);
  Vec<float, kPairs> a;
  Vec<float, kPairs> b;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    a.values[i] = both.values[2 * i];
    b.values[i] = both.values[2 * i + 1];
  }
  turn<kPairs>(a, b, cosines, sines);
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    both.values[2 * i] = a.values[i];
    both.values[2 * i + 1] = b.values[i];
  }
  store<T, 2 * kPairs, kIsAligned>(x, both, 2 * kPairs);
}

// A block turns the heads of one token, a thread kPairs pairs at a time.
template <typename T, int kPairs, RotaryPairing kPairing>
__global__ void __launch_bounds__(kMaxThreads)
    rotary_kernel(T* q, T* k, const int32_t* positions, const int32_t* lengths, const float* inv_freq,
                  float attention_factor, DynamicScaling dynamic, HeadsLayout heads) {
  __shared__ alignas(kVecBytes) float cosines[kTilePairs];
  __shared__ alignas(kVecBytes) float sines[kTilePairs];
  const int64_t token = blockIdx.x;
  const auto position = static_cast<float>(positions[token]);
  const int64_t length = lengths[token];
  const int num_threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  for (int begin = 0; begin < heads.num_pairs; begin += kTilePairs) {
    const int count = min(kTilePairs, heads.num_pairs - begin);
    for (int i = thread; i < count; i += num_threads) {
      const int pair = begin + i;
      const float frequency = length > dynamic.max_position ? dynamic.inv_freq(length, pair) : inv_freq[pair];
      float sin = 0;
      float cos = 0;
      sincosf(__fmul_rn(position, frequency), &sin, &cos);  // reduces arguments of any size exactly
      cosines[i] = cos * attention_factor;
      sines[i] = sin * attention_factor;
    }
    __syncthreads();  // other threads read the cosines
    const int pieces_per_head = count / kPairs;
    const int num_pieces = (heads.num_q_heads + heads.num_k_heads) * pieces_per_head;
    for (int piece = thread; piece < num_pieces; piece += num_threads) {
      const int head = piece / pieces_per_head;
      const int i = (piece - head * pieces_per_head) * kPairs;
      T* const x = head < heads.num_q_heads
                       ? q + token * heads.q_token_stride + head * heads.q_head_stride
                       : k + token * heads.k_token_stride + (head - heads.num_q_heads) * heads.k_head_stride;
      if constexpr (kPairing == RotaryPairing::kHalves) {
        turn_halves<T, kPairs>(x + begin + i, x + begin + i + heads.num_pairs, cosines + i, sines + i);
      } else {
        turn_interleaved<T, kPairs>(x + 2 * (begin + i), cosines + i, sines + i);
      }
    }
    __syncthreads();  // before the next tile's cosines overwrite these
  }
}

DynamicScaling dynamic_scaling(const RotaryConfig& config) {
  const bool is_dynamic = config.scaling.kind == RopeScalingKind::kDynamic;
  return {is_dynamic ? config.max_position : std::numeric_limits<int64_t>::max(), config.theta, config.scaling.factor,
          static_cast<double>(config.rotary_dim)};
}

// Whether every head of every token begins where a vector may.
bool has_aligned_heads(const ConstTensorView& x) {
  return x.empty() || (is_aligned(x, x.stride(0)) && is_aligned(x, x.stride(1)));
}

// Whole warps, up to kMaxThreads, for as many pieces of pairs as a token has.
int choose_num_threads(int64_t num_pieces) {
  int num_threads = 64;
  while (num_threads < kMaxThreads && num_threads < num_pieces) num_threads *= 2;
  return num_threads;
}

}  // namespace

void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& angles, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RotaryConfig& config = angles.config;
  const HeadsLayout heads{static_cast<int>(config.rotary_dim / 2),
                          static_cast<int>(q.dim(1)),
                          static_cast<int>(k.dim(1)),
                          q.stride(0),
                          q.stride(1),
                          k.stride(0),
                          k.stride(1)};
  const auto grid = static_cast<unsigned>(q.dim(0));
  const int32_t* const position = positions.data<int32_t>();
  const int32_t* const length = lengths.data<int32_t>();
  dispatch_float(q.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    const bool is_vectorized =
        has_aligned_heads(q) && has_aligned_heads(k) && dtype_bytes(q.dtype(), heads.num_pairs) % kVecBytes == 0;
    dispatch_vec_size<T>(is_vectorized, [&]<int kPairs>() {
      const int64_t num_pieces = (q.dim(1) + k.dim(1)) * (heads.num_pairs / kPairs);
      const int num_threads = choose_num_threads(num_pieces);
      const auto kernel = config.pairing == RotaryPairing::kHalves
                              ? rotary_kernel<D, kPairs, RotaryPairing::kHalves>
                              : rotary_kernel<D, kPairs, RotaryPairing::kInterleaved>;
      kernel<<<grid, num_threads, 0, handle>>>(static_cast<D*>(q.data()), static_cast<D*>(k.data()), position, length,
                                               angles.inv_freq, angles.attention_factor, dynamic_scaling(config),
                                               heads);
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace cohort::cuda
