#include <limits>
#include <string>

#include "kernels/core/cuda_rows.cuh"
#include "kernels/kv/kv_cache_layout.cuh"
#include "kernels/position/rotary_backends.h"

namespace cohort::cuda {
namespace {

constexpr int kNumThreads = 128;
constexpr int kMaxPairs = 6144;  // whose cosines and sines are in the shared memory that every block may have

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

// CacheWrite as a kernel sees it; keys are null where nothing is stored.
template <typename T>
struct CacheWriteArgs {
  T* keys;
  T* values;
  const T* v;
  const int64_t* slots;
  int64_t v_token_stride;
  int64_t v_head_stride;
  KvCacheLayout cache;
};

// Frequencies of lengths beyond max_position: of `longrope` others, the same for all; of `dynamic` each length's own.
struct LongScaling {
  int64_t max_position;  // larger than every length without such a scaling
  const float* table;    // [num_pairs], or null for `dynamic`
  double theta;
  double factor;
  double rotary_dim;

  // As compute_inv_freq() of rotary.cc has it.
  __device__ float inv_freq(int64_t length, int pair) const {
    if (table != nullptr) return table[pair];
    const double growth = factor * static_cast<double>(length) / static_cast<double>(max_position) - (factor - 1);
    const double grown_theta = theta * pow(growth, rotary_dim / (rotary_dim - 2));
    return static_cast<float>(1.0 / pow(grown_theta, 2.0 * pair / rotary_dim));
  }
};

// kPairs pairs of a head. As they lie in memory: two runs of kPairs elements, which are the pairs' first and second
// elements, or, interleaved, one run of both.
template <typename T, int kPairs, RotaryPairing kPairing>
struct Pairs {
  Vec<float, kPairs> first;
  Vec<float, kPairs> second;

  // Where the runs of pairs [pair, pair + kPairs) begin in a head.
  static __device__ int first_column(int pair) { return kPairing == RotaryPairing::kHalves ? pair : 2 * pair; }
  static __device__ int second_column(int pair, int num_pairs) {
    return kPairing == RotaryPairing::kHalves ? pair + num_pairs : 2 * pair + kPairs;
  }

  __device__ void load_from(const T* head, int pair, int num_pairs) {
    first = load<T, kPairs>(head + first_column(pair), kPairs);
    second = load<T, kPairs>(head + second_column(pair, num_pairs), kPairs);
  }
  __device__ void store_to(T* head, int pair, int num_pairs) const {
    store<T, kPairs>(head + first_column(pair), first, kPairs);
    store<T, kPairs>(head + second_column(pair, num_pairs), second, kPairs);
  }

  // Element i of the runs, one behind the other.
  __device__ float& at(int i) { return i < kPairs ? first.values[i] : second.values[i - kPairs]; }

  // Every product and sum is rounded, as on the CPU.
  __device__ void turn(const float* cosines, const float* sines) {
    constexpr bool kIsHalves = kPairing == RotaryPairing::kHalves;
    const auto cos = load<float, kPairs>(cosines, kPairs);
    const auto sin = load<float, kPairs>(sines, kPairs);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      float& a = at(kIsHalves ? i : 2 * i);
      float& b = at(kIsHalves ? i + kPairs : 2 * i + 1);
      const float x = a;
      const float y = b;
      a = __fsub_rn(__fmul_rn(x, cos.values[i]), __fmul_rn(y, sin.values[i]));
      b = __fadd_rn(__fmul_rn(y, cos.values[i]), __fmul_rn(x, sin.values[i]));
    }
  }
};

// Elements of one token that go to the cache as they are: values, and what of a key does not turn. A thread has the
// runs of kVecSize elements [first, first + step, ...), keys' before values'.
template <int kVecSize, typename T>
__device__ void copy_to_cache(const T* k, const T* v, int64_t slot, const HeadsLayout& heads,
                              const CacheWriteArgs<T>& write, int first, int step) {
  const int num_turned = 2 * heads.num_pairs;
  const int key_runs = (write.cache.head_dim - num_turned) / kVecSize;  // of a head
  const int value_runs = write.cache.head_dim / kVecSize;
  const int num_key_runs = heads.num_k_heads * key_runs;
  for (int i = first; i < num_key_runs + heads.num_k_heads * value_runs; i += step) {
    if (i < num_key_runs) {
      const int head = i / key_runs;
      const int column = num_turned + (i - head * key_runs) * kVecSize;
      copy_vec<T, kVecSize>(write.keys + write.cache.index(slot, head, column), k + head * heads.k_head_stride + column,
                            kVecSize);
    } else {
      const int head = (i - num_key_runs) / value_runs;
      const int column = (i - num_key_runs - head * value_runs) * kVecSize;
      copy_vec<T, kVecSize>(write.values + write.cache.index(slot, head, column),
                            v + head * write.v_head_stride + column, kVecSize);
    }
  }
}

// The blocks of grid row x have token x; of its pieces, kPairs pairs of a head, a thread has every one that is a
// multiple of the token's threads after its first.
template <typename T, int kPairs, RotaryPairing kPairing>
__global__ void __launch_bounds__(kNumThreads)
    rotary_kernel(T* q, T* k, const int32_t* positions, const int32_t* lengths, const float* inv_freq,
                  float attention_factor, LongScaling beyond, HeadsLayout heads, CacheWriteArgs<T> write) {
  extern __shared__ float4 shared[];  // num_pairs cosines, as many sines
  float* const cosines = reinterpret_cast<float*>(shared);
  float* const sines = cosines + heads.num_pairs;
  const int thread = static_cast<int>(threadIdx.x);
  const float own_frequency = thread < heads.num_pairs ? inv_freq[thread] : 0.0f;  // no step writes it
  begin_chained();

  const int64_t token = blockIdx.x;
  const auto position = static_cast<float>(positions[token]);
  const int64_t length = lengths[token];
  const int64_t slot = write.keys != nullptr ? write.slots[token] : -1;
  write.cache.check(slot);
  q += token * heads.q_token_stride;
  k += token * heads.k_token_stride;

  const int pieces_per_head = heads.num_pairs / kPairs;
  const int num_pieces = (heads.num_q_heads + heads.num_k_heads) * pieces_per_head;
  const int step = static_cast<int>(gridDim.y) * kNumThreads;
  int piece = static_cast<int>(blockIdx.y) * kNumThreads + thread;
  const int first_copy = (piece + step - num_pieces % step) % step;  // of the threads that have fewer pieces
  int head = 0;                                                      // heads of k behind those of q
  int pair = 0;
  T* x = nullptr;
  Pairs<T, kPairs, kPairing> pairs;
  const auto load_piece = [&] {
    head = piece / pieces_per_head;
    pair = (piece - head * pieces_per_head) * kPairs;
    x = head < heads.num_q_heads ? q + head * heads.q_head_stride
                                 : k + (head - heads.num_q_heads) * heads.k_head_stride;
    pairs.load_from(x, pair, heads.num_pairs);
  };
  if (piece < num_pieces) load_piece();  // is on its way while the angles are computed

  if (slot >= 0) {
    copy_to_cache<kPairs>(static_cast<const T*>(k), write.v + token * write.v_token_stride, slot, heads, write,
                          first_copy, step);
  }
  for (int i = thread; i < heads.num_pairs; i += kNumThreads) {
    float frequency = i == thread ? own_frequency : inv_freq[i];
    if (length > beyond.max_position) frequency = beyond.inv_freq(length, i);
    float sin = 0;
    float cos = 0;
    sincosf(__fmul_rn(position, frequency), &sin, &cos);  // reduces arguments of any size exactly
    cosines[i] = cos * attention_factor;
    sines[i] = sin * attention_factor;
  }
  __syncthreads();  // other threads read the cosines

  while (piece < num_pieces) {
    pairs.turn(cosines + pair, sines + pair);
    pairs.store_to(x, pair, heads.num_pairs);
    if (slot >= 0 && head >= heads.num_q_heads) {
      T* const key = write.keys + write.cache.index(slot, head - heads.num_q_heads, 0);
      pairs.store_to(key, pair, heads.num_pairs);
    }
    piece += step;
    if (piece < num_pieces) load_piece();
  }
}

LongScaling long_scaling(const RotaryAngles& angles) {
  const RotaryConfig& config = angles.config;
  int64_t max_position = std::numeric_limits<int64_t>::max();
  if (config.scaling.kind == RopeScalingKind::kDynamic) max_position = config.max_position;
  if (config.scaling.kind == RopeScalingKind::kLongRope) max_position = config.scaling.original_max_position;
  return {max_position, angles.long_inv_freq, config.theta, config.scaling.factor,
          static_cast<double>(config.rotary_dim)};
}

template <typename T>
CacheWriteArgs<T> write_args(const CacheWrite* write) {
  if (write == nullptr) return {nullptr, nullptr, nullptr, nullptr, 0, 0, {}};
  return {static_cast<T*>(write->cache.keys.data()),
          static_cast<T*>(write->cache.values.data()),
          static_cast<const T*>(write->v.data()),
          write->slots.data<int64_t>(),
          write->v.stride(0),
          write->v.stride(1),
          layout_of(write->cache)};
}

bool is_vectorized(const TensorView& q, const TensorView& k, const CacheWrite* write, int64_t num_pairs) {
  if (!has_aligned_heads(q) || !has_aligned_heads(k) || dtype_bytes(q.dtype(), num_pairs) % kVecBytes != 0) {
    return false;
  }
  return write == nullptr || (has_aligned_heads(write->v) && is_aligned(write->cache.keys, write->cache.head_dim()) &&
                              is_aligned(write->cache.values, write->cache.head_dim()));
}

// Blocks for each token: enough to fill the device, no more than have work. More of them turn a token sooner, and
// compute its angles more often.
unsigned choose_blocks_per_token(int64_t num_tokens, int64_t num_pieces, const Stream& stream) {
  constexpr int kBlocksPerMultiprocessor = 4;
  const int filling = ceil_div(int64_t{kBlocksPerMultiprocessor} * num_multiprocessors(stream), num_tokens);
  return static_cast<unsigned>(std::clamp(filling, 1, std::max(1, ceil_div(num_pieces, kNumThreads))));
}

}  // namespace

void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& angles, const CacheWrite* write, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RotaryConfig& config = angles.config;
  const HeadsLayout heads{static_cast<int>(config.rotary_dim / 2),
                          static_cast<int>(q.dim(1)),
                          static_cast<int>(k.dim(1)),
                          q.stride(0),
                          q.stride(1),
                          k.stride(0),
                          k.stride(1)};
  COHORT_CHECK(heads.num_pairs <= kMaxPairs, std::to_string(heads.num_pairs) + " pairs");
  const auto num_smem_bytes = static_cast<size_t>(heads.num_pairs) * 2 * sizeof(float);
  const int32_t* const position = positions.data<int32_t>();
  const int32_t* const length = lengths.data<int32_t>();
  dispatch_float(q.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_vectorized(q, k, write, heads.num_pairs), [&]<int kPairs>() {
      const int64_t num_copied = write == nullptr ? 0 : k.dim(1) * (2 * config.head_dim - config.rotary_dim);
      const int64_t num_pieces = ((q.dim(1) + k.dim(1)) * heads.num_pairs + num_copied) / kPairs;
      const dim3 grid(static_cast<unsigned>(q.dim(0)), choose_blocks_per_token(q.dim(0), num_pieces, stream));
      const auto kernel = config.pairing == RotaryPairing::kHalves
                              ? rotary_kernel<D, kPairs, RotaryPairing::kHalves>
                              : rotary_kernel<D, kPairs, RotaryPairing::kInterleaved>;
      launch_chained(kernel, grid, dim3(kNumThreads), num_smem_bytes, handle, static_cast<D*>(q.data()),
                     static_cast<D*>(k.data()), position, length, angles.inv_freq, angles.attention_factor,
                     long_scaling(angles), heads, write_args<D>(write));
    });
  });
}

}  // namespace cohort::cuda
