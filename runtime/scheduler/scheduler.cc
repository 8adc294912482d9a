#include "runtime/scheduler/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/scheduler/sampling_message.h"

namespace cohort {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options) : options_(options), blocks_(options.num_blocks) {
  COHORT_CHECK(options.max_tokens_per_step >= options.max_seqs && options.max_seqs >= 1,
               "a step must have room for a token of every sequence");
  COHORT_CHECK(options.num_micro_batches >= 1 && !(options.overlap_steps && options.num_micro_batches > 1),
               std::to_string(options.num_micro_batches));
}

int64_t Scheduler::blocks_needed(const GenerationRequest& request) const {
  // The last token that is sampled is never fed back.
  const int64_t length = static_cast<int64_t>(request.prompt.size()) + request.output_limit(options_.max_position) - 1;
  return ceil_div(length, options_.block_size);
}

Result<int64_t> Scheduler::submit(GenerationRequest request) {
  COHORT_RETURN_IF_ERROR(request.validate(options_.vocab, options_.max_position));
  const int64_t num_blocks = blocks_needed(request);
  if (num_blocks > blocks_.num_blocks()) {
    return resource_exhausted("prompt and output need " + std::to_string(num_blocks) +
                              " blocks of the cache, which has " + std::to_string(blocks_.num_blocks()));
  }
  Running& waiting = waiting_.emplace_back();
  waiting.sequence.id = next_request_id_++;
  waiting.request = std::move(request);
  return waiting.sequence.id;
}

void Scheduler::admit() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < options_.max_seqs) {
    auto table = blocks_.allocate(blocks_needed(waiting_.front().request));
    if (!table) return;
    Running& running = running_.emplace_back(std::move(waiting_.front()));
    waiting_.pop_front();
    running.sequence.block_table = *std::move(table);
    running.sequence.prompt = running.request.prompt;
    running.sequence.output.reserve(static_cast<size_t>(running.request.output_limit(options_.max_position)));
  }
}

bool Scheduler::can_be_fed(const Running& running) const {
  const Sequence& sequence = running.sequence;
  const auto num_outputs = static_cast<int64_t>(sequence.output.size()) + running.num_awaited;
  return options_.overlap_steps && sequence.num_pending() == 0 && running.num_awaited == 1 &&
         num_outputs < running.request.output_limit(options_.max_position) && !running.request.sampling.reads_output();
}

std::optional<wire::StepPlan> Scheduler::next_plan() {
  // Tokens are fed from one step to the next only.
  COHORT_CHECK(!options_.overlap_steps || num_under_way() < 2, std::to_string(num_under_way()) + " plans under way");
  admit();
  // A fair share of the sequences, so that what other stages need next is not all in this plan.
  const int64_t max_seqs = ceil_div(static_cast<int64_t>(running_.size()), options_.num_micro_batches);
  std::vector<Running*> chosen;
  for (Running& running : running_) {
    if (static_cast<int64_t>(chosen.size()) == max_seqs) break;
    if (running.has_ended) continue;
    if (running.sequence.num_pending() > 0 || can_be_fed(running)) chosen.push_back(&running);
  }
  if (chosen.empty()) return std::nullopt;

  wire::StepPlan plan;
  plan.set_step(next_step_++);
  for (const int64_t id : released_) plan.add_released(id);
  released_.clear();
  // Decodes never wait for prefills: those share what is left of the step, the first in line all that it can use.
  const auto is_decode = [](const Running* running) { return running->sequence.num_pending() <= 1; };
  int64_t spare = options_.max_tokens_per_step - std::count_if(chosen.begin(), chosen.end(), is_decode);
  for (Running* running : chosen) {
    if (is_decode(running)) {
      add_work(plan, *running, 1);
    } else if (const int64_t num_tokens = std::min(running->sequence.num_pending(), spare); num_tokens > 0) {
      add_work(plan, *running, num_tokens);
      spare -= num_tokens;
    }
  }
  under_way_.push_back(plan.step());
  return plan;
}

void Scheduler::add_work(wire::StepPlan& plan, Running& running, int64_t num_tokens) {
  Sequence& sequence = running.sequence;
  if (std::exchange(running.is_new, false)) {
    wire::AdmittedSequence& admitted = *plan.add_admitted();
    admitted.set_id(sequence.id);
    admitted.mutable_prompt()->Add(sequence.prompt.begin(), sequence.prompt.end());
    admitted.mutable_block_table()->Add(sequence.block_table.begin(), sequence.block_table.end());
    write_sampling(*admitted.mutable_sampling(), running.request);
  }
  wire::SequenceWork& work = *plan.add_work();
  work.set_id(sequence.id);
  work.set_num_tokens(num_tokens);
  for (size_t& i = running.num_planned_outputs; i < sequence.output.size(); ++i) {
    work.add_new_tokens(sequence.output[i]);
  }
  work.set_is_fed(sequence.num_pending() == 0);
  sequence.num_computed += num_tokens;
  if (sequence.num_pending() <= 0) ++running.num_awaited;
}

std::vector<TokenEvent> Scheduler::complete(const wire::StepResult& result) {
  COHORT_CHECK(!under_way_.empty() && under_way_.front() == result.step(), "step " + std::to_string(result.step()));
  under_way_.pop_front();
  std::vector<TokenEvent> events;
  for (const wire::SampledToken& sampled : result.tokens()) {
    const auto running =
        std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.sequence.id == sampled.id(); });
    COHORT_CHECK(running != running_.end(), "sequence " + std::to_string(sampled.id()));
    --running->num_awaited;
    if (!running->has_ended) {
      events.push_back(take_token(*running, sampled));
      running->has_ended = events.back().finish != FinishReason::kNone;
    }
    if (running->has_ended && running->num_awaited == 0) release(running);
  }
  return events;
}

void Scheduler::release(std::vector<Running>::iterator running) {
  blocks_.release(running->sequence.block_table);
  released_.push_back(running->sequence.id);
  running_.erase(running);
}

TokenEvent Scheduler::take_token(Running& running, const wire::SampledToken& sampled) {
  TokenEvent event;
  event.request_id = sampled.id();
  event.token = sampled.token();
  for (const wire::Logprob& t : sampled.top_logprobs()) event.top_logprobs.push_back({t.id(), t.logprob()});
  if (event.token < 0) {
    event.finish = FinishReason::kError;
  } else {
    running.sequence.output.push_back(event.token);
    event.finish = finish_reason(running.request, running.sequence.output, options_.max_position);
  }
  return event;
}

}  // namespace cohort
