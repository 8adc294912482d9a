#include "launcher/gateway/completion_stream.h"

#include <algorithm>
#include <utility>

namespace cohort {

CompletionStream::CompletionStream(const Tokenizer& tokenizer, Options options)
    : options_(std::move(options)),
      decoder_(tokenizer, options_.skip_special_tokens),
      matcher_(options_.stop, options_.include_stop) {}

void CompletionStream::push(const EngineEvent& event) {
  ++num_tokens_;
  sum_logprob_ += static_cast<double>(event.logprob);
  if (options_.keep_tokens) part_.tokens.push_back({event.token, event.logprob, event.top_logprobs});

  // The token that the model stops at is no part of the text, as a stop string is not.
  const bool is_stop_token = event.finish == FinishReason::kStop;
  std::string text;
  if (!is_stop_token || options_.include_stop) text = decoder_.append(event.token);
  if (event.is_last()) text += decoder_.finish();
  StopMatcher::Piece piece = matcher_.push(text, num_tokens_ > options_.min_tokens);
  part_.text += piece.text;
  if (piece.matched_stop >= 0) {
    part_.finish_reason = finish_reason_name(FinishReason::kStop);
    part_.stop_reason = matcher_.stop(piece.matched_stop);
  } else if (event.is_last()) {
    part_.text += matcher_.finish();
    part_.finish_reason = finish_reason_name(event.finish);
    const auto& ids = options_.stop_token_ids;
    if (is_stop_token && std::find(ids.begin(), ids.end(), event.token) != ids.end()) part_.stop_reason = event.token;
  }
}

OutputPart CompletionStream::take() {
  OutputPart part = std::move(part_);
  part_ = {};
  part_.finish_reason = part.finish_reason;
  return part;
}

}  // namespace cohort
