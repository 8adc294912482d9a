// What sampling kernels do with a row of values, a block a row. Nothing is sorted: what is cut at is found digit by
// digit from the top, by a histogram of the counts or weights of the values that agree with the digits found so far.
// Internal to this folder; only for files that are compiled with CUDA.
#pragma once

#include <cstdint>

namespace cohort::cuda {

using Sum = unsigned long long;  // as atomicAdd and shuffles name 64 bits

inline constexpr int kNumWarps = 32;
inline constexpr int kNumThreads = 32 * kNumWarps;
inline constexpr unsigned kAllLanes = ~0u;
inline constexpr int kDigitBits = 8;
inline constexpr int kNumBins = 1 << kDigitBits;

struct Scratch {
  Sum bins[kNumBins];
  Sum warps[kNumWarps];
  Sum needed;
  int bin;
  int index;
};

__device__ inline int thread() { return static_cast<int>(threadIdx.x); }
__device__ inline int lane() { return thread() % 32; }
__device__ inline int warp() { return thread() / 32; }

// Of all threads, to all threads.
template <typename Op>
__device__ Sum reduce_block(Sum value, Scratch& scratch, const Op& op) {
  for (int offset = 16; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
  __syncthreads();  // the warps' values of the last time are read
  if (lane() == 0) scratch.warps[warp()] = value;
  __syncthreads();
  value = scratch.warps[lane()];
  for (int offset = 16; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

// The sum of the values of the threads before this one. Of all threads.
__device__ inline Sum sum_before(Sum value, Scratch& scratch) {
  Sum sum = value;
  for (int offset = 1; offset < 32; offset *= 2) {
    const Sum other = __shfl_up_sync(kAllLanes, sum, offset);
    if (lane() >= offset) sum += other;
  }
  __syncthreads();  // the warps' values of the last time are read
  if (lane() == 31) scratch.warps[warp()] = sum;
  __syncthreads();
  sum -= value;
  for (int w = 0; w < warp(); ++w) sum += scratch.warps[w];
  return sum;
}

// The thread's of the first `count` threads' keys, the largest to the first (bitonic). Of all threads; count is a power
// of two, of 32 at least, and `exchange` has room for as many.
__device__ inline Sum sort_descending(Sum key, int count, Sum* exchange) {
  for (int size = 2; size <= count; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      Sum other = 0;
      if (stride < 32) {
        other = __shfl_xor_sync(kAllLanes, key, stride);
      } else {
        if (thread() < count) exchange[thread()] = key;
        __syncthreads();  // the other's is there
        if (thread() < count) other = exchange[thread() ^ stride];
        __syncthreads();  // and read before it changes
      }
      const bool takes_larger = ((thread() & stride) == 0) == ((thread() & size) == 0);
      key = takes_larger ? max(key, other) : min(key, other);
    }
  }
  return key;
}

// The order of the values as integers; see selection.cc.
__device__ inline uint32_t ordered(float value) {
  const uint32_t u = __float_as_uint(__fadd_rn(value, 0.0f));
  return (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
}

__device__ inline float value_of(uint32_t ordered) {
  return __uint_as_float((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

// Larger for a larger value, and among equals for a lower index.
__device__ inline Sum selection_key(uint32_t ordered, int i) {
  return (Sum{ordered} << 32) | ~static_cast<uint32_t>(i);
}
__device__ inline int index_of(Sum key) { return static_cast<int>(~static_cast<uint32_t>(key)); }

// bins[bin] += weight for the lanes that have one. Called by whole warps. The lanes that share the bin of the first are
// summed before they are added: most values share their first digit.
__device__ inline void add_to_bins(Sum* bins, int bin, Sum weight) {
  const bool is_counted = weight != 0;
  const unsigned counted = __ballot_sync(kAllLanes, is_counted);
  if (counted == 0) return;
  const int leader = __ffs(static_cast<int>(counted)) - 1;
  const int leader_bin = __shfl_sync(kAllLanes, bin, leader);
  const bool is_shared = is_counted && bin == leader_bin;
  Sum shared = is_shared ? weight : 0;
  for (int offset = 16; offset > 0; offset /= 2) shared += __shfl_xor_sync(kAllLanes, shared, offset);
  if (lane() == leader) atomicAdd(&bins[bin], shared);
  if (is_counted && !is_shared) atomicAdd(&bins[bin], weight);
}

// The bin where the sum from the top reaches `needed`, and what is needed of it. Called by the first warp. Requires
// that the bins reach it together.
__device__ inline void pick_bin(Scratch& scratch, Sum needed) {
  constexpr int kBinsPerLane = kNumBins / 32;
  Sum sum = 0;
  for (int i = 0; i < kBinsPerLane; ++i) sum += scratch.bins[lane() * kBinsPerLane + i];
  Sum above = sum;
  for (int offset = 1; offset < 32; offset *= 2) {
    const Sum other = __shfl_down_sync(kAllLanes, above, offset);
    if (lane() + offset < 32) above += other;
  }
  above -= sum;
  if (above >= needed || above + sum < needed) return;
  needed -= above;
  int bin = lane() * kBinsPerLane + kBinsPerLane - 1;
  for (; scratch.bins[bin] < needed; --bin) needed -= scratch.bins[bin];
  scratch.bin = bin;
  scratch.needed = needed;
}

struct Cutoff {
  uint32_t key;  // of the smallest value that is kept
  Sum needed;    // of the values with this key, in the order of their indices
  Sum equal;     // what they have together
};

// Where the largest keys' weights reach `needed`, which those of all do.
template <typename KeyOf, typename WeightOf>
__device__ Cutoff find_cutoff(int n, Sum needed, Scratch& scratch, const KeyOf& key_of, const WeightOf& weight_of) {
  Cutoff cutoff{0, needed, 0};
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    __syncthreads();  // the bins of the digit before are read
    for (int i = thread(); i < kNumBins; i += kNumThreads) scratch.bins[i] = 0;
    __syncthreads();
    for (int first = 0; first < n; first += kNumThreads) {  // whole warps stay together
      const int i = first + thread();
      const uint32_t key = i < n ? key_of(i) : 0;
      const bool agrees = i < n && (Sum{key} >> (shift + kDigitBits)) == (Sum{cutoff.key} >> (shift + kDigitBits));
      add_to_bins(scratch.bins, static_cast<int>((key >> shift) % kNumBins), agrees ? weight_of(i) : 0);
    }
    __syncthreads();
    if (warp() == 0) pick_bin(scratch, cutoff.needed);
    __syncthreads();
    cutoff.key |= static_cast<uint32_t>(scratch.bin) << shift;
    cutoff.needed = scratch.needed;
    cutoff.equal = scratch.bins[scratch.bin];
  }
  return cutoff;
}

// The index of the nth element, from 1, for which is_one() holds. Requires that there are so many.
template <typename Pred>
__device__ int find_nth(int n, Sum nth, Scratch& scratch, const Pred& is_one) {
  Sum num_before = 0;
  for (int first = 0; first < n; first += kNumThreads) {
    const int i = first + thread();
    const bool is_counted = i < n && is_one(i);
    const int count = __syncthreads_count(is_counted);
    if (num_before + static_cast<Sum>(count) < nth) {
      num_before += static_cast<Sum>(count);
      continue;
    }
    const unsigned ballot = __ballot_sync(kAllLanes, is_counted);
    if (lane() == 0) scratch.warps[warp()] = static_cast<Sum>(__popc(ballot));
    __syncthreads();
    Sum rank = num_before + static_cast<Sum>(__popc(ballot & ((2u << lane()) - 1)));  // itself counted
    for (int w = 0; w < warp(); ++w) rank += scratch.warps[w];
    if (is_counted && rank == nth) scratch.index = i;
    break;
  }
  __syncthreads();
  return scratch.index;
}

// What is kept of a row of n values: all with a larger key, and those with this key up to an index.
struct KeptValues {
  uint32_t key = 0;
  int last_equal = 0;

  __device__ bool has(uint32_t other, int i) const { return other > key || (other == key && i <= last_equal); }
};

// The k largest of the values, of equals those of lower indices. Requires 0 < k <= n.
__device__ inline KeptValues keep_top_k(const float* values, int n, int k, Scratch& scratch) {
  const auto key_of = [=](int i) { return ordered(values[i]); };
  const Cutoff cutoff = find_cutoff(n, static_cast<Sum>(k), scratch, key_of, [](int) { return Sum{1}; });
  if (cutoff.needed == cutoff.equal) return {cutoff.key, n};
  return {cutoff.key, find_nth(n, cutoff.needed, scratch, [=](int i) { return key_of(i) == cutoff.key; })};
}

}  // namespace cohort::cuda
