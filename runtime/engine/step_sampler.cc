#include "runtime/engine/step_sampler.h"

#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "runtime/decoding/request.h"

namespace cohort {
namespace {

// A token of the sequence has a penalty once, and biases are bounded, and so are those that keep stop ids away.
int64_t max_entries_per_seq(int64_t vocab, int64_t max_position) {
  return std::min(vocab, max_position) + kMaxLogitBiases + kMaxStopIds;
}

void add_top_logprobs(wire::SampledToken& sampled, std::span<const float> logits, int count) {
  for (const TokenLogprob& t : top_logprobs(logits, count)) {
    wire::Logprob& logprob = *sampled.add_top_logprobs();
    logprob.set_id(t.id);
    logprob.set_logprob(t.logprob);
  }
}

}  // namespace

StepSampler::StepSampler(int64_t max_seqs, int64_t vocab, int64_t max_position, Device device)
    : vocab_(vocab), slots_{Slot(max_seqs, vocab, device), Slot(max_seqs, vocab, device)} {
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
  bool wants_logits = false;
  for (const SequenceTable::Entry* entry : sequences) {
    requests_.push_back({&entry->next_sampling(), entry->sequence.prompt, entry->sequence.output});
    started.sequences.push_back({entry->sequence.id, entry->top_logprobs});
    wants_logits = wants_logits || entry->top_logprobs > 0;
  }
  const auto num_seqs = static_cast<int64_t>(sequences.size());
  const TensorView rows = logits.slice(0, 0, num_seqs);
  if (wants_logits) slot.logits.copy_from(rows.data(), rows.num_bytes(), stream);  // before sample() changes them
  if (plan_) {
    plan_->prepare(requests_, vocab_, stream);
    sample(tokens, rows, *plan_, stream);
  } else {
    sample(tokens, rows, requests_, stream);
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
    wire::SampledToken& sampled = *result.add_tokens();
    sampled.set_id(step.sequences[i].id);
    sampled.set_token(step.slot->tokens.data<int32_t>()[i]);
    const std::span logits(step.slot->logits.data<float>() + static_cast<int64_t>(i) * vocab_,
                           static_cast<size_t>(vocab_));
    add_top_logprobs(sampled, logits, step.sequences[i].top_logprobs);
  }
  return result;
}

}  // namespace cohort
