#include "launcher/gateway/generation_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace cohort {
namespace {

constexpr size_t kLongBody = 8192;  // from here on a body is worked on elsewhere

// "12.3 ms", or "-" for a time that was not reached.
std::string milliseconds(double seconds) { return seconds < 0 ? "-" : fmt::format("{:.1f} ms", seconds * 1e3); }

}  // namespace

GenerationService::GenerationService(EngineClient& engine, const Tokenizer& tokenizer, TaskExecutor& executor,
                                     Options options)
    : engine_(engine),
      tokenizer_(tokenizer),
      executor_(executor),
      options_(std::move(options)),
      metrics_(options_.model_name, options_.vllm_metric_names),
      seeds_(std::random_device{}()) {}

GenerationService::~GenerationService() { *alive_ = false; }

Status GenerationService::readiness() const {
  const EngineHealth& health = engine_.health();
  if (health.state == EngineState::kBroken) return {StatusCode::kUnavailable, "the engine is broken: " + health.what};
  if (!failure_.empty()) return {StatusCode::kUnavailable, failure_};
  if (health.state == EngineState::kLoading) {
    return {StatusCode::kUnavailable,
            fmt::format("the model is loading: {}, {:.0f}%", health.what, health.fraction * 100)};
  }
  return ok_status();
}

Status GenerationService::admission() const {
  COHORT_RETURN_IF_ERROR(readiness());
  if (is_draining_) return {StatusCode::kUnavailable, "the server is shutting down"};
  return ok_status();
}

Status GenerationService::guarded(const std::function<void()>& function) {
  try {
    function();
    return ok_status();
  } catch (const std::exception& error) {
    spdlog::error("a request has failed: {}", error.what());
    return {StatusCode::kInternal, "the server has failed on this request"};
  }
}

void GenerationService::run(const Exchange& exchange, bool may_take_long, std::function<void()> task,
                            std::function<void()> done) {
  if (exchange->request().body.size() < kLongBody && !may_take_long) {
    task();
    done();
    return;
  }
  ++num_preparing_;
  executor_.run(std::move(task), [this, alive = alive_, exchange, done = std::move(done)] {
    if (!*alive) return;
    --num_preparing_;
    if (!exchange->is_gone()) done();
  });
}

void GenerationService::begin(const Exchange& exchange, std::unique_ptr<GenerationAnswer> answer,
                              std::vector<SequencePlan> plans, SteadyTime arrival,
                              std::optional<std::chrono::microseconds> timeout) {
  const uint64_t number = num_generations_++;
  Generation::Environment environment{.engine = engine_,
                                      .tokenizer = tokenizer_,
                                      .on_token_gap = [this](double seconds) { metrics_.add_token_gap(seconds); },
                                      .on_end = [this, number, id = exchange->request().id](
                                                    const GenerationRecord& record) { on_end(number, id, record); }};
  auto generation = std::make_shared<Generation>(exchange, std::move(answer), std::move(environment), arrival);
  Active& active = active_[number];
  active.generation = generation;
  if (timeout) {
    const auto end = arrival + *timeout;
    const auto left = std::chrono::duration_cast<std::chrono::microseconds>(end - std::chrono::steady_clock::now());
    active.timer = options_.call_later(
        std::max(left, std::chrono::microseconds(0)),
        [weak = std::weak_ptr<Generation>(generation), timeout = *timeout] {
          const auto late = weak.lock();
          if (!late) return;
          late->fail({StatusCode::kUnavailable, fmt::format("timeout: no answer after {} us", timeout.count())});
        });
  }
  generation->start(std::move(plans));
}

void GenerationService::on_end(uint64_t number, const std::string& request_id, const GenerationRecord& record) {
  active_.erase(number);
  metrics_.add(record);
  SequenceRecord sum;
  for (const SequenceRecord& sequence : record.sequences) {
    sum.num_prompt_tokens += sequence.num_prompt_tokens;
    sum.num_cached_tokens += sequence.num_cached_tokens;
    sum.num_output_tokens += sequence.num_output_tokens;
  }
  const SequenceRecord first = record.sequences.empty() ? SequenceRecord() : record.sequences.front();
  spdlog::info(
      "request {}: {}, {} sequences, {} prompt tokens ({} cached), {} output tokens, queued {}, first token {}, "
      "all {}",
      request_id, record.outcome, record.sequences.size(), sum.num_prompt_tokens, sum.num_cached_tokens,
      sum.num_output_tokens, milliseconds(first.queue_seconds), milliseconds(first.first_token_seconds),
      milliseconds(record.total_seconds));
}

void GenerationService::fail_all(const std::string& reason) {
  failure_ = reason;
  const auto all = std::exchange(active_, {});
  for (const auto& [number, active] : all) active.generation->fail({StatusCode::kUnavailable, reason});
}

}  // namespace cohort
