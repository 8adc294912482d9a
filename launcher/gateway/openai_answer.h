// OpenAiAnswer: the answer to a completion or chat completion, whole or as a stream.
//
// Of the gateway's io thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "launcher/gateway/generation.h"
#include "launcher/gateway/openai_model.h"
#include "launcher/gateway/openai_response.h"

namespace cohort {

class OpenAiAnswer final : public GenerationAnswer {
 public:
  // `created` is in seconds since 1970; `texts` is borrowed.
  OpenAiAnswer(std::shared_ptr<const OpenAiModel> model, PreparedRequest request,
               std::shared_ptr<HttpExchange> exchange, TokenTexts& texts, int64_t created);

  // What it is the answer to: best_of sequences for each prompt. `seed` counts unless the client has one.
  std::vector<SequencePlan> plans(uint64_t seed, const EngineFacts& facts) const;

  void on_token(size_t index, GeneratedSequence& sequence) override;
  void complete(std::span<GeneratedSequence> sequences) override;
  void fail(const Status& status) override;

 private:
  // Of a sequence.
  struct Choice {
    ChoiceWriter writer;
    bool has_begun = false;  // in the stream of the answer
  };

  size_t prompt_of(size_t index) const { return index / static_cast<size_t>(request_.fields.best_of); }
  void respond_whole(std::span<GeneratedSequence> sequences);
  TokenUsage usage(std::span<const GeneratedSequence> sequences) const;

  std::shared_ptr<const OpenAiModel> model_;
  PreparedRequest request_;
  std::shared_ptr<HttpExchange> exchange_;
  ResponseWriter writer_;
  std::vector<Choice> choices_;  // beside the sequences
  bool has_stream_ = false;      // has begun
};

}  // namespace cohort
