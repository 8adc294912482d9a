// GenerationRequest: what a client wants of the engine, in tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/sampling/sampling.h"
#include "runtime/decoding/encoding.h"

namespace cohort {

enum class FinishReason {
  kNone,    // still under way
  kStop,    // the model ended it
  kLength,  // max_tokens, or the model's longest sequence
  kError,   // its logits were not numbers
};

std::string_view finish_reason_name(FinishReason reason);  // "", "stop", "length", "error"

inline constexpr int64_t kMaxStopIds = 256;  // of a request

// What a model takes.
struct SequenceLimits {
  int64_t vocab = 0;
  int64_t max_position = 0;  // the longest sequence
  bool has_source = false;  // a prompt is a source: a sequence of its own, beside that of the output and a token before

  // Output tokens that can follow a prompt of so many; less than one: none.
  int64_t room_for_output(int64_t num_prompt_tokens) const {
    return max_position - (has_source ? 1 : num_prompt_tokens);
  }
  // Tokens of a prompt that leave room for so many.
  int64_t room_for_prompt(int64_t num_output_tokens) const {
    return max_position - (has_source ? 0 : num_output_tokens);
  }
};

struct GenerationRequest {
  std::vector<int32_t> prompt;  // token ids, at least one
  int64_t max_tokens = 16;      // output tokens at most
  int64_t min_tokens = 0;       // before which no stop id is drawn
  SamplingParams sampling;
  std::vector<int32_t> stop_ids;  // tokens that end the output, usually the model's end-of-text
  bool ignore_stop_ids = false;   // for benches: always max_tokens
  bool logprob = false;           // whether to report the log-probability of each token
  int top_logprobs = 0;           // how many of the most probable tokens to report at each step
  int32_t priority = 0;           // lower runs first
  std::string cache_salt;         // only requests with the same share what the cache holds
  std::string tenant;             // whom it is for: the engine's time is shared out among tenants
  std::string name;               // for log lines
  // Of an encoder, which answers with these and draws no tokens: how it would and how many counts for nothing.
  EncodingParts encoding;
  std::vector<int32_t> token_types;  // of each token of the prompt, for models that have them; empty: all 0

  // INVALID_ARGUMENT names the field: bad ids, an empty prompt, a prompt that leaves no room for output or, to be
  // encoded, is too long; counts, sampling. A stop id may be outside of the vocabulary, as some models' are.
  Status validate(const SequenceLimits& limits) const;

  // Output tokens that fit: max_tokens, or what the model's longest sequence leaves. To be encoded: 1, which takes no
  // position.
  int64_t output_limit(const SequenceLimits& limits) const;
};

// Why a sequence ends after `output` (whose last token was just sampled), or kNone.
FinishReason finish_reason(const GenerationRequest& request, std::span<const int32_t> output,
                           const SequenceLimits& limits);

}  // namespace cohort
