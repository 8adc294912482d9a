#include "runtime/engine/sequence_table.h"

#include <limits>
#include <string>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/scheduler/encoding_message.h"
#include "runtime/scheduler/sampling_message.h"

namespace cohort {
namespace {

void read_all_sampling(SequenceTable::Entry& entry, const wire::Sampling& sampling) {
  entry.sampling = read_sampling(sampling);
  entry.min_tokens = static_cast<size_t>(sampling.min_tokens());
  if (entry.min_tokens == 0) return;
  entry.early_sampling = entry.sampling;
  for (const int32_t id : sampling.stop_ids()) {
    entry.early_sampling.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
  }
}

}  // namespace

void SequenceTable::apply(const wire::StepPlan& plan) {
  for (const int64_t id : plan.released()) {
    COHORT_CHECK(entries_.erase(id) == 1, "released sequence " + std::to_string(id));
  }
  for (const wire::AdmittedSequence& admitted : plan.admitted()) {
    Entry entry;
    entry.sequence.id = admitted.id();
    entry.sequence.prompt.assign(admitted.prompt().begin(), admitted.prompt().end());
    entry.sequence.output.assign(admitted.output().begin(), admitted.output().end());
    entry.sequence.block_table.assign(admitted.block_table().begin(), admitted.block_table().end());
    entry.sequence.num_computed = admitted.num_computed();
    entry.sequence.source.assign(admitted.source().begin(), admitted.source().end());
    entry.sequence.source_table.assign(admitted.source_table().begin(), admitted.source_table().end());
    entry.sequence.token_types.assign(admitted.token_types().begin(), admitted.token_types().end());
    entry.encoding = read_encoding_parts(admitted.encoding());
    entry.num_known_outputs = entry.sequence.output.size();
    if (admitted.has_sampling()) read_all_sampling(entry, admitted.sampling());
    entry.logprob = admitted.sampling().logprob();
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
    std::vector<int32_t>& block_table = entry.sequence.block_table;
    block_table.insert(block_table.end(), work.new_blocks().begin(), work.new_blocks().end());
    if (work.is_fed()) output.push_back(Sequence::kFedToken);
  }
}

SequenceTable::Entry& SequenceTable::at(int64_t id) {
  const auto entry = entries_.find(id);
  COHORT_CHECK(entry != entries_.end(), "sequence " + std::to_string(id) + " was never admitted");
  return entry->second;
}

}  // namespace cohort
