// SequenceTable: the sequences of a replica as one of its ranks knows them, kept from step to step by what plans say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "kernels/sampling/sampling.h"
#include "runtime/decoding/encoding.h"
#include "runtime/scheduler/sequence.h"
#include "runtime/scheduler/step_plan.pb.h"

namespace cohort {

class SequenceTable {
 public:
  struct Entry {
    Sequence sequence;
    SamplingParams sampling;
    bool logprob = false;
    int top_logprobs = 0;
    size_t num_known_outputs = 0;  // of sequence.output; behind them is at most one token that a plan feeds
    int32_t sampled_row = -1;      // of the step that sampled its last token: which of the sampled tokens that is
    size_t min_tokens = 0;         // of the output, before which early_sampling holds: stop ids are not drawn
    SamplingParams early_sampling;
    EncodingParts encoding;  // of an encoder

    // Of the next token. Lasts as long as the entry.
    const SamplingParams& next_sampling() const {
      return sequence.output.size() < min_tokens ? early_sampling : sampling;
    }
  };

  // Takes in what the plan admits and releases, and the new tokens of its work. Throws CheckError for a sequence that
  // it cannot know, which would mean that plans were lost.
  void apply(const wire::StepPlan& plan);

  Entry& at(int64_t id);
  size_t size() const { return entries_.size(); }

 private:
  std::unordered_map<int64_t, Entry> entries_;
};

}  // namespace cohort
