// One block a row. All arithmetic is that of sampling_cpu.cc and vector_math.h, operation by operation, without
// contraction.
#include <cstdint>

#include "kernels/core/cuda_launch.cuh"
#include "kernels/sampling/row_selection.cuh"
#include "kernels/sampling/sampling_plan.h"

namespace cohort::cuda {
namespace {

// exp8() of vector_math.h, for one lane.
__device__ float exp_like_cpu(float x) {
  constexpr float kRound = 0x1.8p23f;
  const float clamped = fmaxf(-104.0f, fminf(89.0f, x));
  const float shifted = __fmaf_rn(clamped, 0x1.715476p+0f, kRound);
  const float n = __fsub_rn(shifted, kRound);
  float r = __fmaf_rn(n, -0x1.62e4p-1f, clamped);
  r = __fmaf_rn(n, -0x1.7f7d1cp-20f, r);
  float e = 1.0f / 5040;
  e = __fmaf_rn(e, r, 1.0f / 720);
  e = __fmaf_rn(e, r, 1.0f / 120);
  e = __fmaf_rn(e, r, 1.0f / 24);
  e = __fmaf_rn(e, r, 1.0f / 6);
  e = __fmaf_rn(e, r, 0.5f);
  e = __fmaf_rn(e, r, 1.0f);
  e = __fmaf_rn(e, r, 1.0f);
  const int exponent = __float_as_int(shifted) - __float_as_int(kRound);
  const int half = exponent >> 1;
  const float scale0 = __int_as_float((half + 127) << 23);
  const float scale1 = __int_as_float((exponent - half + 127) << 23);
  return __fmul_rn(__fmul_rn(e, scale0), scale1);
}

// In units of 2^-40; see sampling_cpu.cc.
__device__ Sum fixed(float weight) { return __double2ull_rn(static_cast<double>(weight) * 0x1p40); }

__device__ void apply_biases(float* logits, const SamplingRow& row, const SamplingEntry* entries) {
  const SamplingEntry* const biases = entries + row.first_bias;
  for (int i = thread(); i < row.num_biases; i += kNumThreads) {
    const int token = biases[i].token;
    if (i > 0 && biases[i - 1].token == token) continue;  // added by the thread of the first
    float logit = logits[token];
    for (int j = i; j < row.num_biases && biases[j].token == token; ++j) logit = __fadd_rn(logit, biases[j].bias);
    logits[token] = logit;
  }
}

__device__ void apply_penalties(float* logits, const SamplingRow& row, const SamplingEntry* entries) {
  for (int i = thread(); i < row.num_penalties; i += kNumThreads) {
    const SamplingEntry entry = entries[row.first_penalty + i];
    float logit = logits[entry.token];
    if (row.repetition_penalty != 1) {
      logit = logit > 0 ? __fdiv_rn(logit, row.repetition_penalty) : __fmul_rn(logit, row.repetition_penalty);
    }
    if (entry.count > 0) {
      logit = __fsub_rn(logit, __fmul_rn(row.frequency_penalty, static_cast<float>(entry.count)));
      logit = __fsub_rn(logit, row.presence_penalty);
    }
    logits[entry.token] = logit;
  }
}

struct Largest {
  int index;  // -1 if there is a NaN or the largest is not finite
  float value;
  uint32_t of_thread;  // ordered(), of those that this thread has looked at; 0 of none
};

__device__ Largest find_largest(const float* values, int n, Scratch& scratch) {
  Sum key = 0;  // below that of any value
  bool has_nan = false;
  for (int i = thread(); i < n; i += kNumThreads) {
    const float value = values[i];
    has_nan = has_nan || isnan(value);
    key = max(key, selection_key(ordered(value), i));
  }
  const auto of_thread = static_cast<uint32_t>(key >> 32);
  if (__syncthreads_or(has_nan)) return {-1, 0, of_thread};
  key = reduce_block(key, scratch, [](Sum a, Sum b) { return max(a, b); });
  const float value = value_of(static_cast<uint32_t>(key >> 32));  // not read again: others change values from here on
  return {isinf(value) ? -1 : index_of(key), value, of_thread};
}

__device__ float weight_of(float value, float largest, float temperature) {
  return exp_like_cpu(__fdiv_rn(__fsub_rn(value, largest), temperature));
}

// What top_p of `total` is as a sum of weights.
__device__ Sum share_of(float top_p, Sum total) {
  const auto share = static_cast<Sum>(ceil(static_cast<double>(top_p) * static_cast<double>(total)));
  return min(max(share, Sum{1}), total);
}

// The largest values of a row, where few are enough to draw from.
struct ShortList {
  Sum keys[kNumThreads];
  Sum weights[kNumThreads];  // fixed()
  int size;                  // also of those that found no room
};

// A bound that at least `count` values reach, if there are so many, and not many more: what so many threads reach with
// their largest, but for the last digits. Of ordered() values.
__device__ uint32_t find_bound(uint32_t largest_of_thread, int count) {
  constexpr int kLastBit = 12;
  uint32_t bound = 0;
  for (int bit = 31; bit >= kLastBit; --bit) {
    const uint32_t higher = bound | (1u << bit);
    if (__syncthreads_count(largest_of_thread >= higher) >= count) bound = higher;
  }
  return bound;
}

// The draw where top-k or top-p leave few values; -1 where they may not. Changes no value.
__device__ int draw_from_few(const float* values, int n, const SamplingRow& row, const Largest& largest,
                             Scratch& scratch, ShortList& list) {
  constexpr int kMaxWanted = kNumThreads / 2;
  const bool has_top_k = row.top_k > 0 && row.top_k < n;
  const int num_wanted = has_top_k ? row.top_k : kMaxWanted;
  if (num_wanted > kMaxWanted) return -1;
  const uint32_t bound = find_bound(largest.of_thread, num_wanted);
  const uint32_t none = ordered(-INFINITY);
  if (thread() == 0) list.size = 0;
  __syncthreads();
  Sum total = 0;
  for (int i = thread(); i < n; i += kNumThreads) {
    const float value = values[i];
    const uint32_t key = ordered(value);
    if (!has_top_k) total += fixed(weight_of(value, largest.value, row.temperature));
    if (key < bound || key <= none) continue;
    const int place = atomicAdd(&list.size, 1);
    if (place < kNumThreads) list.keys[place] = selection_key(key, i);
  }
  const auto add = [](Sum a, Sum b) { return a + b; };
  total = reduce_block(total, scratch, add);  // and the list is there
  const int size = list.size;
  if (size > kNumThreads) return -1;
  int count = 32;
  while (count < size) count *= 2;

  Sum key = thread() < size ? list.keys[thread()] : 0;
  if (has_top_k) key = sort_descending(key, count, list.keys);
  // By weight from here on: different values may have the same.
  bool is_kept = thread() < (has_top_k ? min(row.top_k, size) : size);
  if (is_kept) {
    const float own = weight_of(value_of(static_cast<uint32_t>(key >> 32)), largest.value, row.temperature);
    key = selection_key(__float_as_uint(own), index_of(key));
  }
  key = sort_descending(is_kept ? key : 0, count, list.keys);
  is_kept = key != 0;
  const float weight = __uint_as_float(static_cast<uint32_t>(key >> 32));
  const Sum fixed_weight = is_kept ? fixed(weight) : 0;
  if (row.top_p < 1) {
    const Sum total_of_list = reduce_block(fixed_weight, scratch, add);
    if (has_top_k) total = total_of_list;
    const Sum needed = share_of(row.top_p, total);
    const Sum before = sum_before(fixed_weight, scratch);
    is_kept = is_kept && before < needed;
    if (!has_top_k && bound > none) {
      // What is not in the list must not come before what is kept, nor be its equal: weights are far enough above that
      // of the bound.
      constexpr float kMargin = 1.00001f;
      const float least = kMargin * weight_of(value_of(bound), largest.value, row.temperature);
      if (__syncthreads_or(is_kept && !(weight > least)) || total_of_list < needed) return -1;
    }
  }
  is_kept = is_kept && weight >= row.min_p;

  // Those that are kept are the first.
  list.keys[thread()] = key;
  list.weights[thread()] = fixed_weight;
  const int num_kept = __syncthreads_count(is_kept);
  const Sum target = __umul64hi(row.random, reduce_block(is_kept ? fixed_weight : 0, scratch, add));
  if (is_kept) {
    Sum before = 0;  // in the order of indices
    for (int i = 0; i < num_kept; ++i) before += index_of(list.keys[i]) < index_of(key) ? list.weights[i] : 0;
    if (before <= target && target < before + fixed_weight) scratch.index = index_of(key);
  }
  __syncthreads();  // the index is there
  return scratch.index;
}

// Logits to weights, 0 for those that top-k drops.
__device__ void make_weights(float* values, int n, const SamplingRow& row, float largest, Scratch& scratch) {
  KeptValues kept;
  const bool has_top_k = row.top_k > 0 && row.top_k < n;
  if (has_top_k) kept = keep_top_k(values, n, row.top_k, scratch);
  for (int i = thread(); i < n; i += kNumThreads) {
    const bool is_kept = !has_top_k || kept.has(ordered(values[i]), i);
    values[i] = is_kept ? weight_of(values[i], largest, row.temperature) : 0.0f;
  }
  __syncthreads();  // others' weights are read from here on
}

__device__ Sum sum_weights(const float* weights, int begin, int end, int step) {
  Sum sum = 0;
  for (int i = begin; i < end; i += step) sum += fixed(weights[i]);
  return sum;
}

// Drops (zeroes) all but the fewest largest weights that reach top_p of their sum.
__device__ void keep_top_p(float* weights, int n, float top_p, Scratch& scratch) {
  const Sum total =
      reduce_block(sum_weights(weights, thread(), n, kNumThreads), scratch, [](Sum a, Sum b) { return a + b; });
  const auto key_of = [=](int i) { return __float_as_uint(weights[i]); };
  const Cutoff cutoff =
      find_cutoff(n, share_of(top_p, total), scratch, key_of, [=](int i) { return fixed(weights[i]); });
  const Sum weight = fixed(__uint_as_float(cutoff.key));
  int last_equal = n;
  if (cutoff.needed + weight <= cutoff.equal) {  // not all of the equals
    last_equal =
        find_nth(n, (cutoff.needed + weight - 1) / weight, scratch, [=](int i) { return key_of(i) == cutoff.key; });
  }
  for (int i = thread(); i < n; i += kNumThreads) {
    const uint32_t key = key_of(i);
    if (key < cutoff.key || (key == cutoff.key && i > last_equal)) weights[i] = 0;
  }
  __syncthreads();
}

// The first index whose running sum exceeds a uniform draw below the total: the warps sum a thirty-second of the range
// each, and go on with the one that it is in.
__device__ int draw(const float* weights, int n, Sum random, Scratch& scratch) {
  int begin = 0;
  int end = n;
  Sum target = 0;
  for (bool is_first = true; is_first || end - begin > 1; is_first = false) {
    const int part = (end - begin + kNumWarps - 1) / kNumWarps;
    const int part_begin = begin + warp() * part;
    Sum sum = sum_weights(weights, part_begin + lane(), min(part_begin + part, end), 32);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    __syncthreads();  // the sums before are read
    if (lane() == 0) scratch.warps[warp()] = sum;
    __syncthreads();
    if (is_first) {
      Sum total = 0;
      for (int w = 0; w < kNumWarps; ++w) total += scratch.warps[w];
      target = __umul64hi(random, total);
    }
    int chosen = 0;
    for (; chosen < kNumWarps - 1 && scratch.warps[chosen] <= target; ++chosen) target -= scratch.warps[chosen];
    begin += chosen * part;
    end = min(begin + part, end);
  }
  return begin;
}

// Changes logits to weights.
__device__ int draw_from_all(float* values, int n, const SamplingRow& row, float largest, Scratch& scratch) {
  make_weights(values, n, row, largest, scratch);
  if (row.top_p < 1) keep_top_p(values, n, row.top_p, scratch);
  if (row.min_p > 0) {
    for (int i = thread(); i < n; i += kNumThreads) values[i] = values[i] >= row.min_p ? values[i] : 0.0f;
    __syncthreads();
  }
  return draw(values, n, row.random, scratch);
}

__global__ void __launch_bounds__(kNumThreads, 1) sample_kernel(int32_t* tokens, float* logits, int n, int64_t stride,
                                                                const SamplingRow* rows, const SamplingEntry* entries) {
  __shared__ Scratch scratch;
  __shared__ ShortList list;
  wait_for_previous();  // for the logits
  const SamplingRow row = rows[blockIdx.x];
  float* const values = logits + blockIdx.x * stride;
  apply_biases(values, row, entries);
  __syncthreads();
  apply_penalties(values, row, entries);
  __syncthreads();
  const Largest largest = find_largest(values, n, scratch);
  int token = largest.index;
  if (token >= 0 && row.temperature != 0 && row.top_k != 1) {
    const bool may_be_few = (row.top_k > 0 && row.top_k < n) || row.top_p < 1;
    token = may_be_few ? draw_from_few(values, n, row, largest, scratch, list) : -1;
    if (token < 0) token = draw_from_all(values, n, row, largest.value, scratch);
  }
  if (thread() == 0) tokens[blockIdx.x] = token;
}

}  // namespace

void sample(TensorView tokens, TensorView logits, const SamplingPlan& plan, Stream& stream) {
  COHORT_CUDA_CHECK(cudaSetDevice(stream.device().index));
  launch_chained(sample_kernel, dim3(static_cast<unsigned>(tokens.dim(0))), dim3(kNumThreads), 0,
                 static_cast<cudaStream_t>(stream.handle()), tokens.data<int32_t>(), logits.data<float>(),
                 static_cast<int>(logits.dim(1)), logits.stride(0), plan.rows(), plan.entries());
}

}  // namespace cohort::cuda
