#include "launcher/gateway/openai_answer.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace cohort {
namespace {

ResponseWriter::Options writer_options(const OpenAiModel& model, const PreparedRequest& request,
                                       const std::string& request_id, int64_t created) {
  ResponseWriter::Options options;
  options.kind = request.kind;
  options.id = (request.kind == ApiKind::kChat ? "chatcmpl-" : "cmpl-") + request_id;
  options.created = created;
  options.model = model.options().model_name;
  options.fingerprint = model.options().fingerprint;
  options.show_logprobs = request.fields.top_logprobs.has_value();
  options.show_token_ids = request.fields.return_token_ids;
  return options;
}

}  // namespace

OpenAiAnswer::OpenAiAnswer(std::shared_ptr<const OpenAiModel> model, PreparedRequest request,
                           std::shared_ptr<HttpExchange> exchange, TokenTexts& texts, int64_t created)
    : model_(std::move(model)),
      request_(std::move(request)),
      exchange_(std::move(exchange)),
      writer_(writer_options(*model_, request_, exchange_->request().id, created), texts) {
  const int64_t best_of = request_.fields.best_of;
  choices_.resize(request_.prompts.size() * static_cast<size_t>(best_of));
  for (size_t index = 0; index < choices_.size(); ++index) {
    ChoiceWriter& choice = choices_[index].writer;
    choice.index = static_cast<int64_t>(index);
    // A chat shows its prompt once, for all choices; completions show it with each.
    const bool shows_prompt = request_.kind == ApiKind::kCompletion || choice.index % best_of == 0;
    if (request_.fields.return_token_ids && shows_prompt) {
      choice.prompt_ids = &request_.prompts[prompt_of(index)].ids;
    }
  }
}

std::vector<SequencePlan> OpenAiAnswer::plans(uint64_t seed, const EngineFacts& facts) const {
  std::vector<SequencePlan> plans;
  for (size_t index = 0; index < choices_.size(); ++index) {
    const int64_t choice = static_cast<int64_t>(index) % request_.fields.best_of;
    plans.push_back(model_->plan(request_, prompt_of(index), choice, seed, facts));
  }
  return plans;
}

void OpenAiAnswer::on_token(size_t index, GeneratedSequence& sequence) {
  if (!request_.fields.is_stream) return;
  Choice& choice = choices_[index];
  if (!std::exchange(has_stream_, true)) exchange_->begin_stream("text/event-stream");
  const bool is_first = !std::exchange(choice.has_begun, true);
  if (is_first && request_.kind == ApiKind::kChat) exchange_->write(writer_.first_chunk(choice.writer));
  const std::string& echo = request_.prompts[prompt_of(index)].echo;
  const bool echoes = is_first && !echo.empty();
  if (!sequence.stream.has_part() && !echoes) return;
  OutputPart part = sequence.stream.take();
  if (echoes) part.text.insert(0, echo);
  const SequenceRecord& record = sequence.record;
  const TokenUsage usage{.num_prompt_tokens = record.num_prompt_tokens,
                         .num_output_tokens = record.num_output_tokens,
                         .num_cached_tokens = record.num_cached_tokens};
  exchange_->write(writer_.chunk(choice.writer, part, request_.fields.continuous_usage ? &usage : nullptr));
}

void OpenAiAnswer::complete(std::span<GeneratedSequence> sequences) {
  if (!request_.fields.is_stream) return respond_whole(sequences);
  if (request_.fields.include_usage) exchange_->write(writer_.usage_chunk(usage(sequences)));
  exchange_->write(std::string(kStreamEnd));
  exchange_->end_stream();
}

void OpenAiAnswer::respond_whole(std::span<GeneratedSequence> sequences) {
  const auto best_of = static_cast<size_t>(request_.fields.best_of);
  const auto n = static_cast<size_t>(request_.fields.n);
  std::vector<ChoiceWriter> choices;
  std::vector<OutputPart> parts;
  for (size_t prompt = 0; prompt < request_.prompts.size(); ++prompt) {
    std::vector<size_t> order(best_of);
    std::iota(order.begin(), order.end(), prompt * best_of);
    if (best_of > n) {
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return sequences[a].stream.mean_logprob() > sequences[b].stream.mean_logprob();
      });
    }
    for (size_t i = 0; i < n; ++i) {
      ChoiceWriter& choice = choices.emplace_back(choices_[order[i]].writer);
      choice.index = static_cast<int64_t>(choices.size()) - 1;
      OutputPart& part = parts.emplace_back(sequences[order[i]].stream.take());
      part.text.insert(0, request_.prompts[prompt].echo);
    }
  }
  exchange_->respond({.body = writer_.whole(choices, parts, usage(sequences))});
}

void OpenAiAnswer::fail(const Status& status) {
  const ApiError error = api_error(status);
  if (!has_stream_) return exchange_->respond(error_response(error));
  exchange_->write("data: " + error_json(error) + "\n\n");
  exchange_->write(std::string(kStreamEnd));
  exchange_->end_stream();
}

TokenUsage OpenAiAnswer::usage(std::span<const GeneratedSequence> sequences) const {
  TokenUsage usage;
  for (size_t index = 0; index < sequences.size(); ++index) {
    const SequenceRecord& record = sequences[index].record;
    usage.num_output_tokens += record.num_output_tokens;
    // A prompt is read once, whatever is made of it.
    if (index % static_cast<size_t>(request_.fields.best_of) != 0) continue;
    usage.num_prompt_tokens += record.num_prompt_tokens;
    usage.num_cached_tokens += record.num_cached_tokens;
  }
  return usage;
}

}  // namespace cohort
