#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "kernels/core/vector_math.h"
#include "kernels/sampling/sampled_logprobs.h"
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

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int k, double normalizer) {
  if (k <= 0 || std::isnan(normalizer)) return {};
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

float token_logprob(std::span<const float> logits, int32_t token, double normalizer) {
  COHORT_CHECK(token >= 0 && token < static_cast<int64_t>(logits.size()), std::to_string(token));
  return static_cast<float>(logits[static_cast<size_t>(token)] - normalizer);
}

int32_t rank_of(std::span<const float> logits, int32_t token) {
  const float value = logits[static_cast<size_t>(token)];
  int32_t rank = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(logits.size()); ++i) {
    const float other = logits[static_cast<size_t>(i)];
    rank += other > value || (other == value && i < token) ? 1 : 0;
  }
  return rank;
}

SampledLogprobs sampled_logprobs(std::span<const float> logits, int32_t token, int num_top) {
  const double normalizer = log_sum_exp(logits);
  SampledLogprobs result{.logprob = std::nanf(""), .rank = -1, .num_top = 0, .top = {}};
  if (token != -1) result.logprob = token_logprob(logits, token, normalizer);
  if (!std::isnan(result.logprob)) result.rank = rank_of(logits, token);
  for (const TokenLogprob& t : top_logprobs(logits, num_top, normalizer)) result.top[result.num_top++] = t;
  return result;
}

}  // namespace

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int k) {
  return top_logprobs(logits, k, log_sum_exp(logits));
}

float token_logprob(std::span<const float> logits, int32_t token) {
  return token_logprob(logits, token, log_sum_exp(logits));
}

void sampled_logprobs(TensorView out, ConstTensorView logits, ConstTensorView tokens, int num_top, Stream& stream) {
  COHORT_CHECK(
      out.device() == stream.device() && logits.device() == stream.device() && tokens.device() == stream.device(),
      "out " + to_string(out.device()) + ", logits " + to_string(logits.device()) + ", tokens " +
          to_string(tokens.device()));
  COHORT_CHECK(logits.rank() == 2 && logits.dtype() == DType::kF32 && tokens.rank() == 1 &&
                   tokens.dtype() == DType::kI32 && tokens.dim(0) == logits.dim(0),
               "logits " + logits.shape().to_string() + ", tokens " + tokens.shape().to_string());
  COHORT_CHECK(out.dtype() == DType::kU8 && out.is_dense() && out.rank() == 2 && out.dim(0) == logits.dim(0) &&
                   out.dim(1) == static_cast<int64_t>(sizeof(SampledLogprobs)),
               out.shape().to_string());
  COHORT_CHECK(num_top >= 0 && num_top <= kMaxTopLogprobs, std::to_string(num_top));
  if (tokens.empty()) return;
  COHORT_CHECK(logits.dim(1) > 0 && logits.dim(1) < (int64_t{1} << 23),
               "a vocabulary of " + std::to_string(logits.dim(1)));
  if (stream.device().kind == DeviceKind::kCuda) return cuda::sampled_logprobs(out, logits, tokens, num_top, stream);
  auto* const rows = static_cast<SampledLogprobs*>(out.data());
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const std::span row(logits.row<float>(i), static_cast<size_t>(logits.dim(1)));
      rows[i] = sampled_logprobs(row, tokens.data<int32_t>()[i], num_top);
    }
  };
  stream.parallel_for(tokens.dim(0), 1, std::ref(body));
}

}  // namespace cohort
