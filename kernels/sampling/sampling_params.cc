#include <cmath>
#include <string>

#include "kernels/sampling/sampling.h"

namespace cohort {
namespace {

Status field_error(std::string_view field, std::string_view expected, double got) {
  return invalid_argument(std::string(field) + ": expected " + std::string(expected) + ", got " + std::to_string(got));
}

bool is_within(float value, float low, float high) { return value >= low && value <= high; }

}  // namespace

Status SamplingParams::validate(int64_t vocab) const {
  if (!(temperature >= 0) || !std::isfinite(temperature)) {
    return field_error("temperature", "a number of at least 0", temperature);
  }
  if (top_k < 0) return field_error("top_k", "0 (all) or a positive number", top_k);
  if (!(top_p > 0 && top_p <= 1)) return field_error("top_p", "a number in (0, 1]", top_p);
  if (!is_within(min_p, 0, 1)) return field_error("min_p", "a number in [0, 1]", min_p);
  if (!(repetition_penalty > 0) || !std::isfinite(repetition_penalty)) {
    return field_error("repetition_penalty", "a positive number", repetition_penalty);
  }
  if (!is_within(presence_penalty, -2, 2)) {
    return field_error("presence_penalty", "a number in [-2, 2]", presence_penalty);
  }
  if (!is_within(frequency_penalty, -2, 2)) {
    return field_error("frequency_penalty", "a number in [-2, 2]", frequency_penalty);
  }
  if (static_cast<int64_t>(logit_bias.size()) > kMaxLogitBiases) {
    return field_error("logit_bias", "at most " + std::to_string(kMaxLogitBiases) + " tokens",
                       static_cast<double>(logit_bias.size()));
  }
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || token >= vocab) {
      return field_error("logit_bias", "token ids from 0 to " + std::to_string(vocab - 1), token);
    }
    if (!std::isfinite(bias)) return field_error("logit_bias", "finite numbers", bias);
  }
  return ok_status();
}

}  // namespace cohort
