// StepEncoder: what an encoder has made of a step's sequences, brought to the host: hidden states, the pooler's output,
// embeddings, logits, as far as requests want them.
//
// Two steps may be under way, as for StepSampler. One thread.
#pragma once

#include <array>
#include <deque>
#include <span>
#include <vector>

#include "kernels/core/pinned_buffer.h"
#include "runtime/engine/engine_options.h"
#include "runtime/engine/sequence_table.h"
#include "runtime/engine/step_batch.h"
#include "runtime/models/model_spec.h"

namespace cohort {

// Which tokens the head of `spec` reads.
LogitRows logit_rows_of(const ModelSpec& spec);

// How many of them a step may have.
int64_t max_logit_rows(const ModelSpec& spec, const EngineOptions& options);

// What the model's last stage leaves of a step, on the device.
struct EncodedStep {
  ConstTensorView hidden_states;  // [num_tokens, hidden]
  ConstTensorView pooler_output;  // [num_logit_rows, hidden], or empty
  ConstTensorView logits;         // [num_logit_rows, num_logits] float32, or empty
};

class StepEncoder {
 public:
  static constexpr int64_t kMaxUnderWay = 2;

  // For steps of up to options.max_tokens_per_step tokens and max_seqs sequences. Takes all memory here.
  StepEncoder(const ModelSpec& spec, const EngineOptions& options, Device device);
  // Of the device that such a one takes.
  static int64_t num_bytes_for(const ModelSpec& spec, const EngineOptions& options, Device device);

  // Queues the copies of what `sequences`, those of `batch`, want of `encoded`. Requires that less than two steps are
  // under way.
  void start(int64_t step, std::span<const SequenceTable::Entry* const> sequences, const StepBatch& batch,
             const EncodedStep& encoded, Stream& stream);
  // Waits for the oldest step under way and returns what it has. Requires that there is one.
  wire::StepResult finish();

  int64_t num_under_way() const { return static_cast<int64_t>(under_way_.size()); }
  // As StepSampler's.
  bool is_done() const { return under_way_.front().slot->done.is_done(); }

 private:
  // What a step brings to the host, all float32.
  struct Slot {
    Slot(const ModelSpec& spec, const EngineOptions& options, Device device);
    PinnedBuffer hidden_states;  // [max_tokens, hidden]
    PinnedBuffer pooler_output;  // [max_seqs, hidden]
    PinnedBuffer embeddings;     // [max_seqs, hidden]
    PinnedBuffer logits;         // [max_logit_rows, num_logits]
    Event done;
  };
  struct Row {
    int64_t id;  // of the sequence
    EncodingParts parts;
    int64_t begin;  // its first token in the step
    int64_t num_tokens;
  };
  struct Step {
    int64_t step;
    Slot* slot;
    std::vector<Row> rows;
  };

  // Queues the copy of `x` [n, width], as float32, to `to`.
  void bring(const PinnedBuffer& to, ConstTensorView x, Stream& stream);
  std::vector<float> logits_of(const Row& row, const Slot& slot, int64_t index) const;
  wire::EncodedSequence encoded_sequence(const Step& step, int64_t index) const;

  const ModelSpec spec_;
  std::array<Slot, kMaxUnderWay> slots_;
  size_t next_slot_ = 0;
  Tensor embeddings_;           // [max_seqs, hidden] float32
  Tensor floats_;               // [max_tokens, hidden] float32: what is converted before it is copied
  std::deque<Step> under_way_;  // the oldest first
};

}  // namespace cohort
