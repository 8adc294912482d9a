#include "launcher/gateway/openai_generation.h"

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

OpenAiGeneration::OpenAiGeneration(std::shared_ptr<const OpenAiModel> model, PreparedRequest request,
                                   std::shared_ptr<HttpExchange> exchange, Environment environment, SteadyTime arrival,
                                   int64_t created)
    : model_(std::move(model)),
      request_(std::move(request)),
      exchange_(std::move(exchange)),
      environment_(std::move(environment)),
      arrival_(arrival),
      writer_(writer_options(*model_, request_, exchange_->request().id, created), environment_.texts) {}

CompletionStream::Options OpenAiGeneration::stream_options() const {
  const GenerationFields& fields = request_.fields;
  CompletionStream::Options options;
  options.stop = fields.stop;
  options.stop_token_ids = fields.stop_token_ids;
  options.include_stop = fields.include_stop;
  options.skip_special_tokens = fields.skip_special_tokens;
  options.min_tokens = fields.min_tokens;
  options.keep_tokens = fields.top_logprobs.has_value() || fields.return_token_ids;
  return options;
}

void OpenAiGeneration::start(uint64_t seed) {
  const GenerationFields& fields = request_.fields;
  const EngineFacts& facts = environment_.engine.facts();
  for (size_t prompt = 0; prompt < request_.prompts.size(); ++prompt) {
    const auto& ids = request_.prompts[prompt].ids;
    for (int64_t i = 0; i < fields.best_of; ++i) {
      Sequence sequence{.prompt = prompt,
                        .stream = CompletionStream(model_->tokenizer(), stream_options()),
                        .choice = {.index = static_cast<int64_t>(prompt) * fields.best_of + i},
                        .record = {.num_prompt_tokens = static_cast<int64_t>(ids.size())}};
      // A chat shows its prompt once, for all choices; completions show it with each.
      const bool shows_prompt = request_.kind == ApiKind::kCompletion || i == 0;
      if (fields.return_token_ids && shows_prompt) sequence.choice.prompt_ids = &ids;
      sequences_.push_back(std::move(sequence));
    }
  }
  exchange_->on_gone([self = weak_from_this()] {
    if (const auto generation = self.lock()) generation->abandon();
  });
  const std::string& id = exchange_->request().id;
  for (size_t index = 0; index < sequences_.size(); ++index) {
    Sequence& sequence = sequences_[index];
    const int64_t choice = sequence.choice.index % fields.best_of;
    GenerationRequest request = model_->generation_request(request_, sequence.prompt, choice, seed, facts);
    request.tenant = exchange_->request().tenant;
    request.name = sequences_.size() == 1 ? id : id + "/" + std::to_string(index);
    sequence.is_in_engine = true;
    sequence.engine_id = environment_.engine.submit(
        std::move(request),
        [self = shared_from_this(), index](const EngineEvent& event) { self->on_event(index, event); });
  }
}

void OpenAiGeneration::on_event(size_t index, const EngineEvent& event) {
  if (has_ended_) return;
  const auto self = shared_from_this();  // to cancel a sequence drops the callback that this is called from
  Sequence& sequence = sequences_[index];
  if (event.is_last()) sequence.is_in_engine = false;
  if (!event.status.ok()) return fail(api_error(event.status));
  if (event.finish == FinishReason::kError) {
    return fail({.http_status = 500, .message = "the model's output for this request is not a number"});
  }
  if (sequence.stream.is_finished()) return;
  note_times(sequence, event);
  sequence.stream.push(event);
  sequence.record.num_output_tokens = sequence.stream.num_tokens();
  if (sequence.stream.is_finished()) {
    ++num_finished_;
    if (std::exchange(sequence.is_in_engine, false) && !event.is_last()) {
      environment_.engine.cancel(sequence.engine_id);  // a stop string; the engine knows none
    }
  }
  if (request_.fields.is_stream) write_part(sequence);
  if (num_finished_ == sequences_.size()) complete();
}

void OpenAiGeneration::note_times(Sequence& sequence, const EngineEvent& event) {
  SequenceRecord& record = sequence.record;
  const double now = seconds_since_arrival();
  if (record.first_token_seconds < 0) {
    record.first_token_seconds = now;
    record.queue_seconds = event.queue_seconds;
    record.num_cached_tokens = event.num_cached_tokens;
  } else {
    environment_.on_token_gap(now - record.last_token_seconds);
  }
  record.last_token_seconds = now;
}

void OpenAiGeneration::write_part(Sequence& sequence) {
  if (!std::exchange(has_stream_, true)) exchange_->begin_stream("text/event-stream");
  const bool is_first = !std::exchange(sequence.has_begun, true);
  if (is_first && request_.kind == ApiKind::kChat) exchange_->write(writer_.first_chunk(sequence.choice));
  const std::string& echo = request_.prompts[sequence.prompt].echo;
  const bool echoes = is_first && !echo.empty();
  if (!sequence.stream.has_part() && !echoes) return;
  OutputPart part = sequence.stream.take();
  if (echoes) part.text.insert(0, echo);
  const SequenceRecord& record = sequence.record;
  const TokenUsage usage{.num_prompt_tokens = record.num_prompt_tokens,
                         .num_output_tokens = record.num_output_tokens,
                         .num_cached_tokens = record.num_cached_tokens};
  exchange_->write(writer_.chunk(sequence.choice, part, request_.fields.continuous_usage ? &usage : nullptr));
}

void OpenAiGeneration::complete() {
  if (!request_.fields.is_stream) {
    respond_whole();
  } else {
    if (request_.fields.include_usage) exchange_->write(writer_.usage_chunk(usage()));
    exchange_->write(std::string(kStreamEnd));
    exchange_->end_stream();
  }
  const bool is_stop = std::any_of(sequences_.begin(), sequences_.end(), [](Sequence& sequence) {
    return sequence.stream.finish_reason() == finish_reason_name(FinishReason::kStop);
  });
  end(finish_reason_name(is_stop ? FinishReason::kStop : FinishReason::kLength));
}

void OpenAiGeneration::respond_whole() {
  const auto best_of = static_cast<size_t>(request_.fields.best_of);
  const auto n = static_cast<size_t>(request_.fields.n);
  std::vector<ChoiceWriter> choices;
  std::vector<OutputPart> parts;
  for (size_t prompt = 0; prompt < request_.prompts.size(); ++prompt) {
    std::vector<size_t> order(best_of);
    std::iota(order.begin(), order.end(), prompt * best_of);
    if (best_of > n) {
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return sequences_[a].stream.mean_logprob() > sequences_[b].stream.mean_logprob();
      });
    }
    for (size_t i = 0; i < n; ++i) {
      Sequence& sequence = sequences_[order[i]];
      ChoiceWriter& choice = choices.emplace_back(sequence.choice);
      choice.index = static_cast<int64_t>(choices.size()) - 1;
      OutputPart& part = parts.emplace_back(sequence.stream.take());
      part.text.insert(0, request_.prompts[prompt].echo);
    }
  }
  exchange_->respond({.body = writer_.whole(choices, parts, usage())});
}

void OpenAiGeneration::fail(const ApiError& error) {
  if (has_ended_) return;
  cancel_all();
  if (has_stream_) {
    exchange_->write("data: " + error_json(error) + "\n\n");
    exchange_->write(std::string(kStreamEnd));
    exchange_->end_stream();
  } else {
    exchange_->respond(error_response(error));
  }
  end("error");
}

void OpenAiGeneration::abandon() {
  if (has_ended_) return;
  cancel_all();
  end("abort");
}

void OpenAiGeneration::cancel_all() {
  for (Sequence& sequence : sequences_) {
    if (std::exchange(sequence.is_in_engine, false)) environment_.engine.cancel(sequence.engine_id);
  }
}

void OpenAiGeneration::end(std::string_view outcome) {
  has_ended_ = true;
  GenerationRecord record{.outcome = outcome, .total_seconds = seconds_since_arrival(), .sequences = {}};
  for (const Sequence& sequence : sequences_) record.sequences.push_back(sequence.record);
  environment_.on_end(record);
}

TokenUsage OpenAiGeneration::usage() const {
  TokenUsage usage;
  for (const Sequence& sequence : sequences_) {
    usage.num_output_tokens += sequence.record.num_output_tokens;
    // A prompt is read once, whatever is made of it.
    if (sequence.choice.index % request_.fields.best_of != 0) continue;
    usage.num_prompt_tokens += sequence.record.num_prompt_tokens;
    usage.num_cached_tokens += sequence.record.num_cached_tokens;
  }
  return usage;
}

double OpenAiGeneration::seconds_since_arrival() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - arrival_).count();
}

}  // namespace cohort
