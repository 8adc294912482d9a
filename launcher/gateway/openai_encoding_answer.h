// EncodingAnswer: the answer to what was asked of an encoder: embeddings, probabilities of labels, scores,
// what masks may stand for.
//
// Of the gateway's io thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "launcher/gateway/generation.h"
#include "launcher/gateway/openai_encoding_request.h"
#include "launcher/gateway/openai_model.h"

namespace cohort {

class EncodingAnswer final : public GenerationAnswer {
 public:
  // `created` is in seconds since 1970. `num_scores_under_way` counts PreparedEncoding::num_scores as long as the
  // answer lives.
  EncodingAnswer(std::shared_ptr<const OpenAiModel> model, PreparedEncoding request,
                 std::shared_ptr<HttpExchange> exchange, int64_t created,
                 std::shared_ptr<int64_t> num_scores_under_way);
  ~EncodingAnswer() override;
  EncodingAnswer(const EncodingAnswer&) = delete;
  EncodingAnswer& operator=(const EncodingAnswer&) = delete;

  // What it is the answer to, one for each input; once.
  std::vector<SequencePlan> plans();

  void on_token(size_t, GeneratedSequence&) override {}
  void complete(std::span<GeneratedSequence> sequences) override;
  void fail(const Status& status) override;

 private:
  std::string list_of_items(std::span<GeneratedSequence> sequences) const;
  void append_classes(std::string& out, const GeneratedSequence& sequence, size_t index) const;
  void append_token_classes(std::string& out, const GeneratedSequence& sequence, size_t index) const;
  void append_fills(std::string& out, const GeneratedSequence& sequence, size_t index) const;
  std::string ranking(std::span<GeneratedSequence> sequences) const;
  std::vector<double> scores(std::span<GeneratedSequence> sequences) const;

  std::shared_ptr<const OpenAiModel> model_;
  PreparedEncoding request_;
  std::shared_ptr<HttpExchange> exchange_;
  int64_t created_;
  std::shared_ptr<int64_t> num_scores_under_way_;
  std::vector<std::vector<int32_t>> token_ids_;  // of each input, where the answer speaks of tokens
};

}  // namespace cohort
