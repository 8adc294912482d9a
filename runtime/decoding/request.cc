#include "runtime/decoding/request.h"

#include <algorithm>
#include <string>

#include "kernels/sampling/sampled_logprobs.h"

namespace cohort {

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

Status GenerationRequest::validate(const SequenceLimits& limits) const {
  if (prompt.empty()) return invalid_argument("prompt: expected at least one token");
  const auto length = static_cast<int64_t>(prompt.size());
  if (!encoding.any() && limits.room_for_output(length) < 1) {
    return invalid_argument("prompt: " + std::to_string(length) +
                            " tokens leave no room for output: the model's longest sequence is " +
                            std::to_string(limits.max_position));
  }
  if (length > limits.max_position) {
    return invalid_argument("prompt: " + std::to_string(length) + " tokens; the model's longest sequence is " +
                            std::to_string(limits.max_position));
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= limits.vocab) {
      return invalid_argument("prompt: token id " + std::to_string(id) + " is not in [0, " +
                              std::to_string(limits.vocab) + ")");
    }
  }
  if (!token_types.empty() && token_types.size() != prompt.size()) {
    return invalid_argument("token_types: expected " + std::to_string(length) + ", got " +
                            std::to_string(token_types.size()));
  }
  if (max_tokens < 1) {
    return invalid_argument("max_tokens: expected at least 1, got " + std::to_string(max_tokens));
  }
  if (min_tokens < 0 || min_tokens > max_tokens) {
    return invalid_argument("min_tokens: expected 0 to max_tokens, which is " + std::to_string(max_tokens) + ", got " +
                            std::to_string(min_tokens));
  }
  if (static_cast<int64_t>(stop_ids.size()) > kMaxStopIds) {
    return invalid_argument("stop_ids: expected at most " + std::to_string(kMaxStopIds) + ", got " +
                            std::to_string(stop_ids.size()));
  }
  if (top_logprobs < 0 || top_logprobs > kMaxTopLogprobs) {
    return invalid_argument("top_logprobs: expected 0 to " + std::to_string(kMaxTopLogprobs) + ", got " +
                            std::to_string(top_logprobs));
  }
  return sampling.validate(limits.vocab);
}

int64_t GenerationRequest::output_limit(const SequenceLimits& limits) const {
  if (encoding.any()) return 1;
  return std::min(max_tokens, limits.room_for_output(static_cast<int64_t>(prompt.size())));
}

FinishReason finish_reason(const GenerationRequest& request, std::span<const int32_t> output,
                           const SequenceLimits& limits) {
  if (output.empty()) return FinishReason::kNone;
  const bool is_stop =
      std::find(request.stop_ids.begin(), request.stop_ids.end(), output.back()) != request.stop_ids.end();
  if (is_stop && !request.ignore_stop_ids) return FinishReason::kStop;
  const auto length = static_cast<int64_t>(output.size());
  return length >= request.output_limit(limits) ? FinishReason::kLength : FinishReason::kNone;
}

}  // namespace cohort
