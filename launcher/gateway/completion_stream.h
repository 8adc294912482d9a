// CompletionStream: one sequence's way from the engine's tokens to the text that its client sees.
//
// Not thread-safe. Does nothing over a network: what a protocol makes of it is the protocol's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/stop_matcher.h"
#include "runtime/tokenizer/stream_decoder.h"

namespace cohort {

struct OutputToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top_logprobs;
};

// What ended the output, where it was not the model's own end or the length: a token of stop_token_ids, or a stop
// string.
using StopReason = std::variant<std::monostate, int32_t, std::string>;

// What has come of a sequence.
struct OutputPart {
  std::string text;
  std::vector<OutputToken> tokens;  // if they are kept; those whose text is held back come with it
  std::string_view finish_reason;   // "stop", "length", or empty
  StopReason stop_reason;
};

class CompletionStream {
 public:
  struct Options {
    std::vector<std::string> stop;
    std::vector<int32_t> stop_token_ids;  // those that the client named
    bool include_stop = false;
    bool skip_special_tokens = true;
    int64_t min_tokens = 0;  // before which no stop string counts
    bool keep_tokens = false;
  };

  // `tokenizer` is borrowed.
  CompletionStream(const Tokenizer& tokenizer, Options options);

  // Requires an event with a token and a sequence that has not finished. A sequence that finishes here by a stop string
  // goes on in the engine until it is cancelled.
  void push(const EngineEvent& event);

  bool is_finished() const { return !part_.finish_reason.empty(); }
  std::string_view finish_reason() const { return part_.finish_reason; }  // empty until then
  // Whether take() has something to show: text, or the end.
  bool has_part() const { return !part_.text.empty() || is_finished(); }
  // What has come since the last time.
  OutputPart take();

  int64_t num_tokens() const { return num_tokens_; }
  double mean_logprob() const { return num_tokens_ == 0 ? 0 : sum_logprob_ / static_cast<double>(num_tokens_); }

 private:
  Options options_;
  StreamDecoder decoder_;
  StopMatcher matcher_;
  OutputPart part_;
  int64_t num_tokens_ = 0;
  double sum_logprob_ = 0;
};

}  // namespace cohort
