#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "kernels/core/vector_math.h"
#include "kernels/sampling/sampling.h"
#include "kernels/sampling/selection.h"

namespace cohort {
namespace {

// log(sum(e^logits)), in double; NaN if a logit is NaN or the largest is not finite.
double log_sum_exp(std::span<const float> logits) {
  const LargestValue largest = find_largest(logits);
  if (largest.index < 0) return std::nan("");
  const auto n = static_cast<int64_t>(logits.size());
  double sum = 0;
  int64_t i = 0;
  while (i < n) {
    Float8 lane_sum = {};  // of at most 256 vectors, so that float32 loses little
    const int64_t end = std::min(n, i + 256 * kLanes);
    for (; i + kLanes <= end; i += kLanes) lane_sum += exp8(load8(&logits[i]) - largest.value);
    for (; i < end; ++i) sum += exp_float(logits[i] - largest.value);
    sum += sum_of8(lane_sum);
  }
  return largest.value + std::log(sum);
}

}  // namespace

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int k) {
  if (k <= 0 || logits.empty()) return {};
  const double normalizer = log_sum_exp(logits);
  if (std::isnan(normalizer)) return {};
  std::vector<uint64_t> keys;
  select_largest(logits, std::min<int64_t>(k, static_cast<int64_t>(logits.size())), keys);
  std::sort(keys.begin(), keys.end(), std::greater<>());
  std::vector<TokenLogprob> top;
  top.reserve(keys.size());
  for (const uint64_t key : keys) {
    top.push_back({key_index(key), static_cast<float>(key_value(key) - normalizer)});
  }
  return top;
}

float token_logprob(std::span<const float> logits, int32_t token) {
  COHORT_CHECK(token >= 0 && token < static_cast<int64_t>(logits.size()), std::to_string(token));
  return static_cast<float>(logits[static_cast<size_t>(token)] - log_sum_exp(logits));
}

}  // namespace cohort
