#include "launcher/gateway/kserve_answer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/gateway/kserve_error.h"
#include "launcher/gateway/kserve_model.h"
#include "launcher/gateway/openai_response.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr double kLeastLogprob = -9999;  // JSON has no infinity
constexpr std::string_view kEventStream = "text/event-stream";

double shown_logprob(double logprob) {
  return std::isfinite(logprob) ? std::max(logprob, kLeastLogprob) : kLeastLogprob;
}

double sum_of(const OutputPart& part) {
  double sum = 0;
  for (const OutputToken& token : part.tokens) sum += shown_logprob(token.logprob);
  return sum;
}

// The object that every answer is, as far as its outputs.
std::string head(const KserveAnswerOptions& options) {
  std::string out = R"({"model_name":)";
  append_json_string(out, options.model_name);
  append_json_string(out += R"(,"model_version":)", kKserveVersion);
  if (options.request.id) append_json_string(out += R"(,"id":)", *options.request.id);
  return out;
}

}  // namespace

KserveInferAnswer::KserveInferAnswer(std::shared_ptr<HttpExchange> exchange, KserveAnswerOptions options)
    : exchange_(std::move(exchange)), options_(std::move(options)) {}

void KserveInferAnswer::complete(std::span<GeneratedSequence> sequences) {
  std::vector<OutputPart> parts;
  for (size_t i = 0; i < sequences.size(); ++i) {
    parts.push_back(sequences[i].stream.take());
    parts.back().text.insert(0, options_.echos[i]);
  }
  std::vector<OutputTensor> outputs;
  bool is_binary = false;
  for (const RequestedOutput& requested : options_.request.outputs) {
    outputs.push_back(tensor(requested, sequences, parts));
    is_binary |= requested.is_binary;
  }
  const auto [written, binary] = write_outputs(outputs);
  HttpResponse response{.body = head(options_) + R"(,"outputs":)" + written.dump() + "}"};
  if (is_binary) {
    response.headers.emplace_back("Inference-Header-Content-Length", std::to_string(response.body.size()));
    response.content_type = "application/octet-stream";
    response.body += binary;
  }
  exchange_->respond(std::move(response));
}

OutputTensor KserveInferAnswer::tensor(const RequestedOutput& requested, std::span<const GeneratedSequence> sequences,
                                       std::span<const OutputPart> parts) const {
  OutputTensor tensor{.name = requested.output.name,
                      .datatype = requested.output.datatype,
                      .shape = {},
                      .values = {},
                      .is_binary = requested.is_binary};
  size_t num_longest = 1;
  if (requested.output.is_list) {
    num_longest = 0;
    for (const OutputPart& part : parts) num_longest = std::max(num_longest, part.tokens.size());
  }
  if (options_.request.has_batch_dim) tensor.shape.push_back(static_cast<int64_t>(sequences.size()));
  tensor.shape.push_back(static_cast<int64_t>(num_longest));
  for (size_t i = 0; i < sequences.size(); ++i) {
    switch (requested.output.kind) {
      case KserveOutputKind::kText:
        tensor.values.emplace_back(parts[i].text);
        break;
      case KserveOutputKind::kFinishReason:
        tensor.values.emplace_back(std::string(parts[i].finish_reason));
        break;
      case KserveOutputKind::kNumInputTokens:
        tensor.values.emplace_back(sequences[i].record.num_prompt_tokens);
        break;
      case KserveOutputKind::kNumOutputTokens:
        tensor.values.emplace_back(sequences[i].record.num_output_tokens);
        break;
      case KserveOutputKind::kCumLogProbs:
        tensor.values.emplace_back(sum_of(parts[i]));
        break;
      case KserveOutputKind::kOutputLogProbs:
        for (size_t k = 0; k < num_longest; ++k) {
          const bool is_there = k < parts[i].tokens.size();
          tensor.values.emplace_back(is_there ? shown_logprob(parts[i].tokens[k].logprob) : 0.0);
        }
        break;
    }
  }
  return tensor;
}

void KserveInferAnswer::fail(const Status& status) { exchange_->respond(kserve_error(status)); }

KserveGenerateAnswer::KserveGenerateAnswer(std::shared_ptr<HttpExchange> exchange, KserveAnswerOptions options,
                                           bool is_event)
    : exchange_(std::move(exchange)), options_(std::move(options)), is_event_(is_event) {}

std::string KserveGenerateAnswer::next_part(GeneratedSequence& sequence) {
  OutputPart part = sequence.stream.take();
  if (!std::exchange(has_echoed_, true)) part.text.insert(0, options_.echos[0]);
  std::string out = head(options_);
  append_json_string(out += R"(,"text_output":)", part.text);
  if (options_.request.shows_logprobs) {
    sum_logprob_ += sum_of(part);
    json logprobs = json::array();
    for (const OutputToken& token : part.tokens) logprobs.push_back(shown_logprob(token.logprob));
    out += R"(,"cum_log_probs":)" + json(sum_logprob_).dump() + R"(,"output_log_probs":)" + logprobs.dump();
  }
  if (!part.finish_reason.empty()) append_json_string(out += R"(,"finish_reason":)", part.finish_reason);
  return out += '}';
}

void KserveGenerateAnswer::on_token(size_t, GeneratedSequence& sequence) {
  if (!options_.request.is_stream) return;
  if (!std::exchange(has_stream_, true)) exchange_->begin_stream(std::string(kEventStream));
  const bool echoes = !has_echoed_ && !options_.echos[0].empty();
  if (!sequence.stream.has_part() && !echoes) return;
  exchange_->write("data: " + next_part(sequence) + "\n\n");
}

void KserveGenerateAnswer::complete(std::span<GeneratedSequence> sequences) {
  if (options_.request.is_stream) return exchange_->end_stream();
  std::string whole = next_part(sequences[0]);
  if (!is_event_) return exchange_->respond({.body = std::move(whole)});
  exchange_->begin_stream(std::string(kEventStream));
  exchange_->write("data: " + whole + "\n\n");
  exchange_->end_stream();
}

void KserveGenerateAnswer::fail(const Status& status) {
  if (!has_stream_) return exchange_->respond(kserve_error(status));
  exchange_->write("data: " + kserve_error_json(status.message()) + "\n\n");
  exchange_->end_stream();
}

}  // namespace cohort
