#include "runtime/engine/step_sampler.h"

#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "kernels/elementwise/elementwise.h"
#include "runtime/decoding/request.h"

namespace cohort {
namespace {

constexpr auto kLogprobBytes = static_cast<int64_t>(sizeof(SampledLogprobs));

// A token of the sequence has a penalty once, and biases are bounded, and so are those that keep stop ids away.
int64_t max_entries_per_seq(int64_t vocab, int64_t max_position) {
  return std::min(vocab, max_position) + kMaxLogitBiases + kMaxStopIds;
}

void add_top_logprobs(wire::SampledToken& sampled, const SampledLogprobs& logprobs, int count) {
  for (int i = 0; i < std::min(count, logprobs.num_top); ++i) {
    wire::Logprob& logprob = *sampled.add_top_logprobs();
    logprob.set_id(logprobs.top[i].id);
    logprob.set_logprob(logprobs.top[i].logprob);
  }
}

}  // namespace

int64_t StepSampler::num_bytes_for(int64_t max_seqs, int64_t vocab, int64_t max_position, Device device) {
  const int64_t plan_bytes =
      device.kind == DeviceKind::kCuda
          ? SamplingPlan::num_bytes_for(max_seqs, max_seqs * max_entries_per_seq(vocab, max_position))
          : 0;
  return plan_bytes + dtype_bytes(DType::kF32, max_seqs * vocab) + max_seqs * kLogprobBytes;
}

StepSampler::StepSampler(int64_t max_seqs, int64_t vocab, int64_t max_position, Device device)
    : vocab_(vocab),
      slots_{Slot(max_seqs, device), Slot(max_seqs, device)},
      raw_logits_(DType::kF32, {max_seqs, vocab}, device),
      logprobs_(DType::kU8, {max_seqs, kLogprobBytes}, device) {
  if (device.kind == DeviceKind::kCuda) {
    plan_.emplace(max_seqs, max_seqs * max_entries_per_seq(vocab, max_position), device);
  }
  requests_.reserve(static_cast<size_t>(max_seqs));
}

void StepSampler::start(int64_t step, std::span<const SequenceTable::Entry* const> sequences, TensorView tokens,
                        TensorView logits, Stream& stream) {
  COHORT_CHECK(num_under_way() < kMaxUnderWay, "step " + std::to_string(step));
  Slot& slot = slots_[next_slot_];
  next_slot_ = (next_slot_ + 1) % slots_.size();
  Step& started = under_way_.emplace_back(Step{step, &slot, {}});
  requests_.clear();
  bool wants_logprobs = false;
  int num_top = 0;
  for (const SequenceTable::Entry* entry : sequences) {
    requests_.push_back({&entry->next_sampling(), entry->sequence.prompt, entry->sequence.output});
    started.sequences.push_back({entry->sequence.id, entry->logprob, entry->top_logprobs});
    wants_logprobs = wants_logprobs || entry->logprob || entry->top_logprobs > 0;
    num_top = std::max(num_top, entry->top_logprobs);
  }
  const auto num_seqs = static_cast<int64_t>(sequences.size());
  const TensorView rows = logits.slice(0, 0, num_seqs);
  const TensorView raw_rows = raw_logits_->slice(0, 0, num_seqs);
  if (wants_logprobs) copy_rows(raw_rows, rows, stream);
  if (plan_) {
    plan_->prepare(requests_, vocab_, stream);
    sample(tokens, rows, *plan_, stream);
  } else {
    sample(tokens, rows, requests_, stream);
  }
  if (wants_logprobs) {
    const TensorView logprobs = logprobs_->slice(0, 0, num_seqs);
    sampled_logprobs(logprobs, raw_rows, tokens, num_top, stream);
    slot.logprobs.copy_from(logprobs.data(), logprobs.num_bytes(), stream);
  }
  slot.tokens.copy_from(tokens.data(), tokens.num_bytes(), stream);
  slot.done.record(stream);
}

wire::StepResult StepSampler::finish() {
  COHORT_CHECK(!under_way_.empty(), "no step under way");
  const Step step = std::move(under_way_.front());
  under_way_.pop_front();
  step.slot->done.synchronize();
  wire::StepResult result;
  result.set_step(step.step);
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const Sampled& sequence = step.sequences[i];
    wire::SampledToken& sampled = *result.add_tokens();
    sampled.set_id(sequence.id);
    sampled.set_token(step.slot->tokens.data<int32_t>()[i]);
    const SampledLogprobs& logprobs = step.slot->logprobs.data<SampledLogprobs>()[i];
    if (sequence.logprob) sampled.set_logprob(logprobs.logprob);
    if (sequence.top_logprobs > 0) add_top_logprobs(sampled, logprobs, sequence.top_logprobs);
  }
  return result;
}

}  // namespace cohort
