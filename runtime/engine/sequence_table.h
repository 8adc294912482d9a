// SequenceTable: the sequences of a replica as one of its ranks knows them, kept from step to step by what plans say.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "kernels/sampling/sampling.h"
#include "runtime/scheduler/sequence.h"
#include "runtime/scheduler/step_plan.pb.h"

namespace cohort {

class SequenceTable {
 public:
  struct Entry {
    Sequence sequence;
    SamplingParams sampling;
    int top_logprobs = 0;
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
