#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <string>

#include "kernels/core/vector_math.h"
#include "kernels/sampling/philox.h"
#include "kernels/sampling/sampling.h"
#include "kernels/sampling/selection.h"

namespace cohort {
namespace {

// Of one thread. Grows with the vocabulary, on the first step; a later step allocates nothing.
struct Workspace {
  std::vector<int32_t> counts;  // [vocab], zero between rows
  std::vector<uint64_t> keys;
  std::vector<float> values;
  std::vector<int32_t> ids;
};

// Weights e^((logit - largest) / temperature), one value of which is 1, are summed as integers in
// units of 2^-40: exact in any order, so that no sum depends on how it was cut. Up to 2^23 of them
// fit.
constexpr double kUnit = 0x1p40;

uint64_t fixed(float weight) {
  constexpr double kRound = 0x1p52;  // the integer is then in the low bits
  const double shifted = static_cast<double>(weight) * kUnit + kRound;
  return std::bit_cast<uint64_t>(shifted) - std::bit_cast<uint64_t>(kRound);
}

uint64_t sum_fixed(std::span<const float> weights) {
  uint64_t sum = 0;
  for (const float w : weights) sum += fixed(w);
  return sum;
}

void check_token(int32_t token, int64_t vocab) {
  COHORT_CHECK(token >= 0 && token < vocab,
               "token " + std::to_string(token) + " in a vocabulary of " + std::to_string(vocab));
}

// The repetition penalty of Keskar 2019, then the two of the OpenAI API.
void apply_penalties(std::span<float> logits, const SamplingRequest& request, std::vector<int32_t>& counts) {
  const SamplingParams& params = *request.params;
  const bool repeats = params.repetition_penalty != 1;
  if (!repeats && params.presence_penalty == 0 && params.frequency_penalty == 0) return;
  const auto vocab = static_cast<int64_t>(logits.size());
  for (const int32_t token : request.output) check_token(token, vocab);
  for (const int32_t token : request.prompt) check_token(token, vocab);
  if (counts.size() < logits.size()) counts.resize(logits.size(), 0);

  constexpr int32_t kDone = -1;
  const auto penalize_repetition = [&](float& logit) {
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  };
  for (const int32_t token : request.output) ++counts[token];
  for (const int32_t token : request.output) {
    const int32_t count = counts[token];
    if (count == kDone) continue;
    counts[token] = kDone;
    float& logit = logits[token];
    if (repeats) penalize_repetition(logit);
    logit -= params.frequency_penalty * static_cast<float>(count);
    logit -= params.presence_penalty;
  }
  if (repeats) {
    for (const int32_t token : request.prompt) {
      if (counts[token] != kDone) penalize_repetition(logits[token]);
      counts[token] = kDone;
    }
    for (const int32_t token : request.prompt) counts[token] = 0;
  }
  for (const int32_t token : request.output) counts[token] = 0;
}

// The k largest logits, in the order of their ids, in workspace.values and .ids.
void take_top_k(std::span<const float> logits, int64_t k, Workspace& workspace) {
  select_largest(logits, k, workspace.keys);
  workspace.ids.clear();
  for (const uint64_t key : workspace.keys) workspace.ids.push_back(key_index(key));
  std::sort(workspace.ids.begin(), workspace.ids.end());
  workspace.values.clear();
  for (const int32_t id : workspace.ids) workspace.values.push_back(logits[id]);
}

void logits_to_weights(std::span<float> values, float max, float temperature) {
  float* const x = values.data();
  for_each_vector(static_cast<int64_t>(values.size()), [&](int64_t i, auto extent) {
    store8(x + i, exp8((load8(x + i, extent) - max) / temperature), extent);
  });
}

// The smallest key that is kept when the largest are taken until their weights reach `needed`,
// which the weights of all do. Quickselect by weight.
uint64_t find_cutoff(std::span<uint64_t> keys, uint64_t needed) {
  constexpr size_t kSmall = 32;
  while (keys.size() > kSmall) {
    const uint64_t a = keys.front();
    const uint64_t b = keys[keys.size() / 2];
    const uint64_t c = keys.back();
    const uint64_t pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    const auto middle = std::partition(keys.begin(), keys.end(), [&](uint64_t key) { return key >= pivot; });
    const auto num_large = static_cast<size_t>(middle - keys.begin());
    uint64_t sum = 0;
    for (const uint64_t key : keys.first(num_large)) sum += fixed(key_value(key));
    if (sum >= needed) {
      keys = keys.first(num_large);
    } else {
      needed -= sum;
      keys = keys.subspan(num_large);
    }
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
  for (const uint64_t key : keys) {
    const uint64_t weight = fixed(key_value(key));
    if (weight >= needed) return key;
    needed -= weight;
  }
  return keys.back();
}

// Weights in buckets by their exponent and the first bits of their fraction, so that a larger weight is in the same
// bucket or a later one. All that count for nothing are in the first.
constexpr int kBucketShift = 18;
constexpr uint32_t kFirstBucket = std::bit_cast<uint32_t>(0x1p-41f) >> kBucketShift;
constexpr uint32_t kNumBuckets = (std::bit_cast<uint32_t>(1.0f) >> kBucketShift) - kFirstBucket + 1;

uint32_t bucket_of(float weight) {
  const uint32_t bucket = std::bit_cast<uint32_t>(weight) >> kBucketShift;
  return std::max(bucket, kFirstBucket) - kFirstBucket;
}

void collect_bucket(std::span<const float> weights, uint32_t bucket, std::vector<uint64_t>& keys) {
  const auto least = std::bit_cast<float>((bucket + kFirstBucket) << kBucketShift);
  const auto beyond = std::bit_cast<float>((bucket + kFirstBucket + 1) << kBucketShift);
  keys.clear();
  for_each_vector(static_cast<int64_t>(weights.size()), [&](int64_t i, auto extent) {
    const Float8 w = load8(weights.data() + i, extent);
    if (!any8((w >= least) & (w < beyond))) return;
    for (int64_t j = 0; j < kLanes; ++j) {
      if (w[j] >= least && w[j] < beyond) {
        keys.push_back(selection_key(w[j], static_cast<int32_t>(i + j)));
      }
    }
  });
}

// Drops (zeroes) all but the fewest largest weights that reach top_p of `total`.
void keep_top_p(std::span<float> weights, float top_p, uint64_t total, std::vector<uint64_t>& keys) {
  const auto share = static_cast<uint64_t>(std::ceil(static_cast<double>(top_p) * static_cast<double>(total)));
  uint64_t needed = std::clamp<uint64_t>(share, 1, total);
  uint64_t sums[kNumBuckets] = {};
  for (const float w : weights) sums[bucket_of(w)] += fixed(w);
  uint32_t bucket = kNumBuckets - 1;
  for (; sums[bucket] < needed; --bucket) needed -= sums[bucket];
  collect_bucket(weights, bucket, keys);
  const uint64_t cutoff = find_cutoff(keys, needed);
  const float value = key_value(cutoff);
  const auto index = static_cast<size_t>(key_index(cutoff));
  for (size_t i = 0; i < weights.size(); ++i) {
    const bool is_kept = weights[i] > value || (weights[i] == value && i <= index);
    weights[i] = is_kept ? weights[i] : 0.0f;
  }
}

// The first index whose running sum exceeds a uniform draw below the total.
size_t draw(std::span<const float> weights, uint64_t random) {
  constexpr size_t kBlock = 256;
  __extension__ typedef unsigned __int128 Uint128;
  const auto target = static_cast<uint64_t>((static_cast<Uint128>(random) * sum_fixed(weights)) >> 64);
  uint64_t sum = 0;
  size_t i = 0;
  for (; i + kBlock < weights.size(); i += kBlock) {
    const uint64_t next = sum + sum_fixed(weights.subspan(i, kBlock));
    if (next > target) break;
    sum = next;
  }
  for (; i + 1 < weights.size(); ++i) {
    sum += fixed(weights[i]);
    if (sum > target) break;
  }
  return i;
}

int32_t sample_row(std::span<float> logits, const SamplingRequest& request, Workspace& workspace) {
  const SamplingParams& params = *request.params;
  const auto vocab = static_cast<int64_t>(logits.size());
  for (const auto& [token, bias] : params.logit_bias) {
    check_token(token, vocab);
    logits[token] += bias;
  }
  apply_penalties(logits, request, workspace.counts);
  const LargestValue largest = find_largest(logits);
  if (largest.index < 0 || params.temperature == 0 || params.top_k == 1) return largest.index;

  std::span<float> weights = logits;
  const bool has_top_k = params.top_k > 0 && params.top_k < vocab;
  if (has_top_k) {
    take_top_k(logits, params.top_k, workspace);
    weights = workspace.values;
  }
  logits_to_weights(weights, largest.value, params.temperature);
  if (params.top_p < 1) keep_top_p(weights, params.top_p, sum_fixed(weights), workspace.keys);
  if (params.min_p > 0) {
    for (float& w : weights) w = w >= params.min_p ? w : 0.0f;
  }
  const size_t index = draw(weights, random_bits(params.seed, request.output.size()));
  return has_top_k ? workspace.ids[index] : static_cast<int32_t>(index);
}

}  // namespace

void sample(TensorView tokens, TensorView logits, std::span<const SamplingRequest> requests, Stream& stream) {
  COHORT_CHECK(stream.device() == kCpuDevice, to_string(stream.device()));
  COHORT_CHECK(tokens.rank() == 1 && logits.rank() == 2 && tokens.dim(0) == logits.dim(0) &&
                   static_cast<int64_t>(requests.size()) == tokens.dim(0),
               "tokens " + tokens.shape().to_string() + ", logits " + logits.shape().to_string() + ", " +
                   std::to_string(requests.size()) + " requests");
  if (tokens.empty()) return;
  COHORT_CHECK(logits.dim(1) > 0 && logits.dim(1) < (int64_t{1} << 23),
               "a vocabulary of " + std::to_string(logits.dim(1)));
  int32_t* const token = tokens.data<int32_t>();
  const auto body = [&](int64_t begin, int64_t end) {
    thread_local Workspace workspace;
    for (int64_t i = begin; i < end; ++i) {
      const std::span<float> row(logits.row<float>(i), static_cast<size_t>(logits.dim(1)));
      token[i] = sample_row(row, requests[static_cast<size_t>(i)], workspace);
    }
  };
  stream.parallel_for(tokens.dim(0), 1, std::ref(body));
}

}  // namespace cohort
