#include "launcher/gateway/generation.h"

#include <algorithm>
#include <utility>

namespace cohort {

Generation::Generation(std::shared_ptr<HttpExchange> exchange, std::unique_ptr<GenerationAnswer> answer,
                       Environment environment, SteadyTime arrival)
    : exchange_(std::move(exchange)),
      answer_(std::move(answer)),
      environment_(std::move(environment)),
      arrival_(arrival) {}

void Generation::start(std::vector<SequencePlan> plans) {
  prepare_seconds_ = seconds_since_arrival();
  for (SequencePlan& plan : plans) {
    sequences_.push_back({.stream = CompletionStream(environment_.tokenizer, std::move(plan.output)),
                          .encoding = nullptr,
                          .record = {.num_prompt_tokens = static_cast<int64_t>(plan.request.prompt.size())}});
  }
  exchange_->on_gone([self = weak_from_this()] {
    if (const auto generation = self.lock()) generation->abandon();
  });
  const std::string& id = exchange_->request().id;
  for (size_t index = 0; index < sequences_.size(); ++index) {
    GeneratedSequence& sequence = sequences_[index];
    GenerationRequest request = std::move(plans[index].request);
    request.tenant = exchange_->request().tenant;
    request.name = sequences_.size() == 1 ? id : id + "/" + std::to_string(index);
    sequence.is_in_engine = true;
    sequence.engine_id = environment_.engine.submit(
        std::move(request),
        [self = shared_from_this(), index](const EngineEvent& event) { self->on_event(index, event); });
  }
}

void Generation::on_event(size_t index, const EngineEvent& event) {
  if (has_ended_) return;
  const auto self = shared_from_this();  // to cancel a sequence drops the callback that this is called from
  GeneratedSequence& sequence = sequences_[index];
  if (event.is_last()) sequence.is_in_engine = false;
  if (!event.status.ok()) return fail(event.status);
  if (event.finish == FinishReason::kError) {
    return fail({StatusCode::kInternal, "the model's output for this request is not a number"});
  }
  if (sequence.stream.is_finished()) return;
  note_times(sequence.record, event);
  if (event.encoding) {
    sequence.encoding = event.encoding;
    ++num_finished_;
  } else {
    take_token(sequence, event);
  }
  answer_->on_token(index, sequence);
  if (num_finished_ == sequences_.size()) complete();
}

void Generation::take_token(GeneratedSequence& sequence, const EngineEvent& event) {
  sequence.stream.push(event);
  sequence.record.num_output_tokens = sequence.stream.num_tokens();
  if (sequence.stream.is_finished()) {
    ++num_finished_;
    if (std::exchange(sequence.is_in_engine, false) && !event.is_last()) {
      environment_.engine.cancel(sequence.engine_id);  // a stop string; the engine knows none
    }
  }
}

void Generation::note_times(SequenceRecord& record, const EngineEvent& event) {
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

void Generation::complete() {
  answer_->complete(sequences_);
  const bool is_stop = std::any_of(sequences_.begin(), sequences_.end(), [](const GeneratedSequence& sequence) {
    return sequence.encoding || sequence.stream.finish_reason() == finish_reason_name(FinishReason::kStop);
  });
  end(finish_reason_name(is_stop ? FinishReason::kStop : FinishReason::kLength));
}

void Generation::fail(const Status& status) {
  if (has_ended_) return;
  cancel_all();
  answer_->fail(status);
  end("error");
}

void Generation::abandon() {
  if (has_ended_) return;
  cancel_all();
  end("abort");
}

void Generation::cancel_all() {
  for (GeneratedSequence& sequence : sequences_) {
    if (std::exchange(sequence.is_in_engine, false)) environment_.engine.cancel(sequence.engine_id);
  }
}

void Generation::end(std::string_view outcome) {
  has_ended_ = true;
  GenerationRecord record{.outcome = outcome,
                          .prepare_seconds = prepare_seconds_,
                          .total_seconds = seconds_since_arrival(),
                          .sequences = {}};
  for (const GeneratedSequence& sequence : sequences_) record.sequences.push_back(sequence.record);
  environment_.on_end(record);
}

double Generation::seconds_since_arrival() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - arrival_).count();
}

}  // namespace cohort
