// StepSampler: samples the next tokens of a step's sequences where their logits are, and brings them and what is
// reported of them to the host.
//
// Two steps may be under way: one is sampled while the host takes the tokens of the one before. One thread.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "kernels/core/pinned_buffer.h"
#include "kernels/sampling/sampled_logprobs.h"
#include "kernels/sampling/sampling_plan.h"
#include "runtime/engine/sequence_table.h"

namespace cohort {

class StepSampler {
 public:
  static constexpr int64_t kMaxUnderWay = 2;

  // For steps of up to max_seqs sequences of up to max_position positions. Takes all memory here.
  StepSampler(int64_t max_seqs, int64_t vocab, int64_t max_position, Device device);
  // Of the device that such a sampler takes.
  static int64_t num_bytes_for(int64_t max_seqs, int64_t vocab, int64_t max_position, Device device);

  // Queues the sampling of `sequences`, whose logits are the first rows of `logits` [num_rows, vocab] (float32, changed
  // in place), to tokens [num_seqs] (int32). Requires that less than two steps are under way.
  void start(int64_t step, std::span<const SequenceTable::Entry* const> sequences, TensorView tokens, TensorView logits,
             Stream& stream);
  // Waits for the oldest step under way and returns its tokens. Requires that there is one.
  wire::StepResult finish();

  int64_t num_under_way() const { return static_cast<int64_t>(under_way_.size()); }
  // Whether finish() would not wait. Requires a step under way.
  bool is_done() const { return under_way_.front().slot->done.is_done(); }

 private:
  // What a step brings to the host.
  struct Slot {
    Slot(int64_t max_seqs, Device device)
        : tokens(dtype_bytes(DType::kI32, max_seqs), device),
          logprobs(max_seqs * static_cast<int64_t>(sizeof(SampledLogprobs)), device),
          done(device) {}
    PinnedBuffer tokens;    // [max_seqs] int32
    PinnedBuffer logprobs;  // [max_seqs] SampledLogprobs, in steps that report them
    Event done;
  };
  struct Sampled {
    int64_t id;  // of the sequence
    bool logprob;
    int top_logprobs;
  };
  struct Step {
    int64_t step;
    Slot* slot;
    std::vector<Sampled> sequences;  // of each row
  };

  const int64_t vocab_;
  std::array<Slot, kMaxUnderWay> slots_;
  size_t next_slot_ = 0;
  std::optional<SamplingPlan> plan_;  // on CUDA
  std::vector<SamplingRequest> requests_;
  // Of the step last started, where log-probabilities are wanted.
  Tensor raw_logits_;           // [max_seqs, vocab] float32: what logits were before sampling changed them
  Tensor logprobs_;             // [max_seqs, sizeof(SampledLogprobs)] uint8
  std::deque<Step> under_way_;  // the oldest first
};

}  // namespace cohort
