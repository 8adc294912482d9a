#include "runtime/engine/sequence_table.h"

#include <string>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/scheduler/sampling_message.h"

namespace cohort {

void SequenceTable::apply(const wire::StepPlan& plan) {
  for (const int64_t id : plan.released()) {
    COHORT_CHECK(entries_.erase(id) == 1, "released sequence " + std::to_string(id));
  }
  for (const wire::AdmittedSequence& admitted : plan.admitted()) {
    Entry entry;
    entry.sequence.id = admitted.id();
    entry.sequence.prompt.assign(admitted.prompt().begin(), admitted.prompt().end());
    entry.sequence.block_table.assign(admitted.block_table().begin(), admitted.block_table().end());
    entry.sampling = read_sampling(admitted.sampling());
    entry.top_logprobs = admitted.sampling().top_logprobs();
    COHORT_CHECK(entries_.emplace(admitted.id(), std::move(entry)).second,
                 "admitted sequence " + std::to_string(admitted.id()) + " twice");
  }
  for (const wire::SequenceWork& work : plan.work()) {
    Entry& entry = at(work.id());
    std::vector<int32_t>& output = entry.sequence.output;
    for (const int32_t token : work.new_tokens()) {
      const size_t place = entry.num_known_outputs++;
      if (place < output.size()) {
        output[place] = token;  // fed before, and known now
      } else {
        output.push_back(token);
      }
    }
    if (work.is_fed()) output.push_back(Sequence::kFedToken);
  }
}

SequenceTable::Entry& SequenceTable::at(int64_t id) {
  const auto entry = entries_.find(id);
  COHORT_CHECK(entry != entries_.end(), "sequence " + std::to_string(id) + " was never admitted");
  return entry->second;
}

}  // namespace cohort
