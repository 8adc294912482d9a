// StepSampler: samples the next tokens of a step's sequences where their logits are, and brings them to the host.
//
// Two steps may be under way: one is sampled while the host takes the tokens of the one before. One thread.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "kernels/core/pinned_buffer.h"
#include "kernels/sampling/sampling_plan.h"
#include "runtime/engine/sequence_table.h"

namespace cohort {

class StepSampler {
 public:
  // For steps of up to max_seqs sequences of up to max_position positions. Takes all memory here.
  StepSampler(int64_t max_seqs, int64_t vocab, int64_t max_position, Device device);

  // Queues the sampling of `sequences`, whose logits are the first rows of `logits` [num_rows, vocab] (float32, changed
  // in place), to tokens [num_seqs] (int32). Requires that less than two steps are under way.
  void start(int64_t step, std::span<const SequenceTable::Entry* const> sequences, TensorView tokens, TensorView logits,
             Stream& stream);
  // Waits for the oldest step under way and returns its tokens. Requires that there is one.
  wire::StepResult finish();

  int64_t num_under_way() const { return static_cast<int64_t>(under_way_.size()); }

 private:
  static constexpr int64_t kMaxUnderWay = 2;

  // What a step brings to the host.
  struct Slot {
    Slot(int64_t max_seqs, int64_t vocab, Device device)
        : tokens(dtype_bytes(DType::kI32, max_seqs), device),
          logits(dtype_bytes(DType::kF32, max_seqs * vocab), device),
          done(device) {}
    PinnedBuffer tokens;  // [max_seqs] int32
    PinnedBuffer logits;  // [max_seqs, vocab] float32; copied only where log-probabilities are wanted
    Event done;
  };
  struct Sampled {
    int64_t id;  // of the sequence
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
  std::deque<Step> under_way_;  // the oldest first
};

}  // namespace cohort
