#include "runtime/scheduler/plan_writer.h"

#include "runtime/scheduler/encoding_message.h"
#include "runtime/scheduler/sampling_message.h"

namespace cohort {
namespace {

void write_admitted(wire::AdmittedSequence& admitted, ScheduledRequest& request) {
  const Sequence& sequence = request.sequence;
  admitted.set_id(sequence.id);
  admitted.mutable_prompt()->Add(sequence.prompt.begin(), sequence.prompt.end());
  admitted.mutable_output()->Add(sequence.output.begin(), sequence.output.end());
  admitted.mutable_block_table()->Add(sequence.block_table.begin(), sequence.block_table.end());
  admitted.set_num_computed(sequence.num_computed);
  admitted.mutable_source()->Add(sequence.source.begin(), sequence.source.end());
  admitted.mutable_source_table()->Add(sequence.source_table.begin(), sequence.source_table.end());
  if (request.request.encoding.any()) {
    admitted.mutable_token_types()->Add(sequence.token_types.begin(), sequence.token_types.end());
    write_encoding_parts(*admitted.mutable_encoding(), request.request.encoding);
  } else {
    write_sampling(*admitted.mutable_sampling(), request.request);
  }
  request.is_known_to_ranks = true;
  request.num_told_outputs = sequence.output.size();
  request.num_told_blocks = sequence.block_table.size();
}

}  // namespace

void write_work(wire::StepPlan& plan, ScheduledRequest& request, int64_t num_tokens) {
  Sequence& sequence = request.sequence;
  if (!request.is_known_to_ranks) write_admitted(*plan.add_admitted(), request);
  wire::SequenceWork& work = *plan.add_work();
  work.set_id(sequence.id);
  work.set_num_tokens(num_tokens);
  for (size_t& i = request.num_told_outputs; i < sequence.output.size(); ++i) work.add_new_tokens(sequence.output[i]);
  for (size_t& i = request.num_told_blocks; i < sequence.block_table.size(); ++i) {
    work.add_new_blocks(sequence.block_table[i]);
  }
  work.set_is_fed(sequence.num_pending() == 0);
  sequence.num_computed += num_tokens;
  if (sequence.num_pending() <= 0) ++request.num_awaited;
}

}  // namespace cohort
