// The answers to KServe's inference and generate requests.
//
// Of the gateway's io thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "launcher/gateway/generation.h"
#include "launcher/gateway/kserve_request.h"

namespace cohort {

// What an answer needs to know of its request.
struct KserveAnswerOptions {
  std::string model_name;
  KserveRequest request;           // its sequences do not matter
  std::vector<std::string> echos;  // of each sequence: what its text begins with
};

// {"model_name", "model_version", "id", "outputs"} and binary data.
class KserveInferAnswer final : public GenerationAnswer {
 public:
  KserveInferAnswer(std::shared_ptr<HttpExchange> exchange, KserveAnswerOptions options);

  void on_token(size_t, GeneratedSequence&) override {}
  void complete(std::span<GeneratedSequence> sequences) override;
  void fail(const Status& status) override;

 private:
  OutputTensor tensor(const RequestedOutput& requested, std::span<const GeneratedSequence> sequences,
                      std::span<const OutputPart> parts) const;

  std::shared_ptr<HttpExchange> exchange_;
  KserveAnswerOptions options_;
};

// {"model_name", "model_version", "id", "text_output"}, whole or as events that each have the next piece of the text.
class KserveGenerateAnswer final : public GenerationAnswer {
 public:
  // `is_event`: an answer that comes as a whole is an event too.
  KserveGenerateAnswer(std::shared_ptr<HttpExchange> exchange, KserveAnswerOptions options, bool is_event);

  void on_token(size_t index, GeneratedSequence& sequence) override;
  void complete(std::span<GeneratedSequence> sequences) override;
  void fail(const Status& status) override;

 private:
  // The object with the next piece of the text.
  std::string next_part(GeneratedSequence& sequence);

  std::shared_ptr<HttpExchange> exchange_;
  KserveAnswerOptions options_;
  bool is_event_;
  bool has_stream_ = false;  // has begun
  bool has_echoed_ = false;
  double sum_logprob_ = 0;
};

}  // namespace cohort
