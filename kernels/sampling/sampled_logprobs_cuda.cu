// One block a row, which it goes through twice: for the largest value, and for the sum of weights. The first time also
// finds a bound that at least as many values reach as are wanted, and not many more: the num_top-th of what each warp
// has met as its largest. The second time puts aside what reaches it.
#include <limits>

#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_vector.cuh"
#include "kernels/sampling/row_selection.cuh"
#include "kernels/sampling/sampled_logprobs.h"

namespace cohort::cuda {
namespace {

static_assert(kMaxTopLogprobs <= kNumWarps);

constexpr int kVecSize = 4;
constexpr int kMaxCandidates = kNumThreads;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct LogprobScratch {
  Scratch selection;
  float warp_largest[kNumWarps];
  Sum candidates[kMaxCandidates];  // keys, in no order
  int num_candidates;              // also of those that found no room
};

// Calls body(i, values) with the thread's vectors of the row. What is behind the end is -infinity. Which values are a
// vector does not depend on kIsAligned.
template <bool kIsAligned, typename Body>
__device__ void for_each_vector(const float* row, int n, const Body& body) {
  for (int i = thread() * kVecSize; i < n; i += kNumThreads * kVecSize) {
    Vec<float, kVecSize> x = load<float, kVecSize, kIsAligned>(row + i, n - i);
    if (n - i < kVecSize) {
#pragma unroll
      for (int j = 0; j < kVecSize; ++j) {
        if (j >= n - i) x.values[j] = -kInfinity;
      }
    }
    body(i, x);
  }
}

__device__ float max_of_warp(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

struct Bounds {
  float largest;
  float least_top;  // reached by num_top values at least, if there are so many
};

// `has_nan` tells whether a value is none; then nothing is said of the bounds.
template <bool kIsAligned>
__device__ Bounds find_bounds(const float* row, int n, int num_top, LogprobScratch& scratch, bool& has_nan) {
  float largest = -kInfinity;
  has_nan = false;
  for_each_vector<kIsAligned>(row, n, [&](int, const Vec<float, kVecSize>& x) {
#pragma unroll
    for (const float value : x.values) {
      has_nan = has_nan || isnan(value);
      largest = fmaxf(largest, value);
    }
  });
  largest = max_of_warp(largest);
  if (lane() == 0) scratch.warp_largest[warp()] = largest;
  if (thread() == 0) scratch.num_candidates = 0;
  has_nan = __syncthreads_or(has_nan) != 0;  // and the warps' values are there
  const float own = scratch.warp_largest[lane()];
  int rank = 0;  // of this lane's value among the warps'
  for (int other = 0; other < kNumWarps; ++other) {
    const float value = __shfl_sync(kAllLanes, own, other);
    rank += value > own || (value == own && other < lane()) ? 1 : 0;
  }
  const unsigned last_top = __ballot_sync(kAllLanes, rank == num_top - 1);
  const float least_top = __shfl_sync(kAllLanes, own, max(__ffs(static_cast<int>(last_top)) - 1, 0));
  return {max_of_warp(own), least_top};
}

// The num_top largest of a row of which too many values reach the bound.
__device__ void select_again(const float* row, int n, int num_top, LogprobScratch& scratch) {
  const KeptValues kept = keep_top_k(row, n, min(num_top, n), scratch.selection);
  if (thread() == 0) scratch.num_candidates = 0;
  __syncthreads();
  for (int i = thread(); i < n; i += kNumThreads) {
    const float value = row[i];
    if (value == -kInfinity || !kept.has(ordered(value), i)) continue;
    scratch.candidates[atomicAdd(&scratch.num_candidates, 1)] = selection_key(ordered(value), i);
  }
  __syncthreads();  // all have put theirs aside
}

template <bool kIsAligned>
__global__ void __launch_bounds__(kNumThreads, 1)
    sampled_logprobs_kernel(SampledLogprobs* out, const float* logits, int n, int64_t stride, const int32_t* tokens,
                            int num_top) {
  __shared__ LogprobScratch scratch;
  let_next_begin();
  wait_for_previous();
  const float* const row = logits + blockIdx.x * stride;
  SampledLogprobs& result = out[blockIdx.x];
  const int token = tokens[blockIdx.x];
  const bool has_token = token >= 0 && token < n;
  check_on_device(has_token || token == -1);
  bool has_nan = false;
  const auto [largest, least_top] = find_bounds<kIsAligned>(row, n, num_top, scratch, has_nan);
  if (has_nan || isinf(largest)) {
    if (thread() == 0) {
      result.logprob = kNan;
      result.rank = -1;
      result.num_top = 0;
    }
    return;
  }

  const float token_value = has_token ? row[token] : 0.0f;
  double weight = 0;
  int rank = 0;
  for_each_vector<kIsAligned>(row, n, [&](int begin, const Vec<float, kVecSize>& x) {
    float vector_weight = 0;
#pragma unroll
    for (int j = 0; j < kVecSize; ++j) {
      const float value = x.values[j];
      const int i = begin + j;
      vector_weight += __expf(value - largest);
      rank += value > token_value || (value == token_value && i < token) ? 1 : 0;
      if (num_top > 0 && value >= least_top && value > -kInfinity) {
        const int place = atomicAdd(&scratch.num_candidates, 1);
        if (place < kMaxCandidates) scratch.candidates[place] = selection_key(ordered(value), i);
      }
    }
    weight += vector_weight;
  });
  // As integers the sum is the same in any order; of up to 2^23 weights, one of which is 1, it loses nothing that
  // counts.
  constexpr double kUnit = 0x1p40;
  const auto add = [](Sum a, Sum b) { return a + b; };
  const Sum total = reduce_block(__double2ull_rn(weight * kUnit), scratch.selection, add);
  const Sum total_rank = reduce_block(static_cast<Sum>(rank), scratch.selection, add);
  const double normalizer = largest + log(static_cast<double>(total) / kUnit);

  if (scratch.num_candidates > kMaxCandidates) select_again(row, n, num_top, scratch);  // as all threads know
  const int num_candidates = scratch.num_candidates;
  if (thread() < num_candidates) {
    const Sum key = scratch.candidates[thread()];
    int place = 0;
    for (int i = 0; i < num_candidates; ++i) place += scratch.candidates[i] > key ? 1 : 0;
    const int id = index_of(key);
    if (place < num_top) result.top[place] = {id, static_cast<float>(row[id] - normalizer)};
  }
  if (thread() == 0) {
    result.logprob = has_token ? static_cast<float>(token_value - normalizer) : kNan;
    result.rank = has_token ? static_cast<int>(total_rank) : -1;
    result.num_top = min(num_top, num_candidates);
  }
}

}  // namespace

void sampled_logprobs(TensorView out, ConstTensorView logits, ConstTensorView tokens, int num_top, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const auto launch = [&](auto kernel) {
    launch_chained(kernel, dim3(static_cast<unsigned>(logits.dim(0))), dim3(kNumThreads), 0, handle,
                   static_cast<SampledLogprobs*>(out.data()), logits.data<float>(), static_cast<int>(logits.dim(1)),
                   logits.stride(0), tokens.data<int32_t>(), num_top);
  };
  if (is_aligned(logits, logits.stride(0))) {
    launch(sampled_logprobs_kernel<true>);
  } else {
    launch(sampled_logprobs_kernel<false>);
  }
}

}  // namespace cohort::cuda
