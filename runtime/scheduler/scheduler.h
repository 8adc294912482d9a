// Scheduler: decides what each step of a replica computes. Pure host code: no ranks, no devices, no clock; the same
// calls give the same plans.
//
// A step takes one token of every sequence that has one to compute and a chunk of every prompt under way, together at
// most max_tokens_per_step. Waiting requests start in order of arrival, once the cache has blocks for their prompt and
// all their output, so that no sequence ever has to stop for want of one.
//
// Plans may be asked for before earlier ones are completed, as a pipeline needs: a sequence whose next token is still
// being sampled is left out, and the running sequences are shared out among num_micro_batches plans, so that every
// stage has one to work on. Plans are completed in order.
//
// With overlap_steps a plan is made while the one before runs: a sequence goes on with a token that nobody knows yet,
// unless the number of tokens ends it or its penalties need them. One that the token turns out to end has been computed
// once more in vain, and keeps its blocks until that is over.
//
// One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "runtime/cache/block_allocator.h"
#include "runtime/decoding/request.h"
#include "runtime/scheduler/sequence.h"
#include "runtime/scheduler/step_plan.pb.h"

namespace cohort {

struct SchedulerOptions {
  int64_t vocab = 0;
  int64_t max_position = 0;           // the longest sequence
  int64_t block_size = 16;            // positions a block of the cache
  int64_t num_blocks = 1024;          // of the cache
  int64_t max_tokens_per_step = 512;  // at least max_seqs
  int64_t max_seqs = 64;              // sequences that run at once
  int64_t num_micro_batches = 1;      // plans under way at once, one a stage of the pipeline
  // A second plan may be under way whose sequences compute tokens that the first still samples. Requires one
  // micro-batch.
  bool overlap_steps = false;
};

// A token that a step sampled.
struct TokenEvent {
  int64_t request_id = 0;
  int32_t token = 0;
  FinishReason finish = FinishReason::kNone;
  std::vector<TokenLogprob> top_logprobs;  // as many as the request wants, before penalties and temperature
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Queues a request and returns its id, which is also its sequence's. INVALID_ARGUMENT names the field that is wrong;
  // RESOURCE_EXHAUSTED if the cache could never hold it.
  Result<int64_t> submit(GenerationRequest request);

  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  int64_t num_under_way() const { return static_cast<int64_t>(under_way_.size()); }

  // How many plans keep the ranks busy.
  int64_t max_under_way() const { return options_.overlap_steps ? 2 : options_.num_micro_batches; }
  // The next plan, or nothing when every running sequence waits for a token of a plan under way. With overlap_steps
  // less than two may be under way.
  std::optional<wire::StepPlan> next_plan();
  // Takes the result of the oldest plan under way. Throws CheckError if it is not that plan's.
  std::vector<TokenEvent> complete(const wire::StepResult& result);

  const BlockAllocator& blocks() const { return blocks_; }

 private:
  struct Running {
    Sequence sequence;
    GenerationRequest request;       // its prompt has moved into the sequence
    size_t num_planned_outputs = 0;  // output tokens that plans have told the ranks
    int64_t num_awaited = 0;         // tokens that plans under way sample for it
    bool is_new = true;              // no plan has told the ranks of it
    bool has_ended = false;          // but a plan under way samples a token more, in vain
  };

  int64_t blocks_needed(const GenerationRequest& request) const;
  void admit();
  // Whether its next token is being sampled and it can go on before that is known here.
  bool can_be_fed(const Running& running) const;
  void release(std::vector<Running>::iterator running);
  void add_work(wire::StepPlan& plan, Running& running, int64_t num_tokens);
  TokenEvent take_token(Running& running, const wire::SampledToken& sampled);

  const SchedulerOptions options_;
  BlockAllocator blocks_;
  int64_t next_request_id_ = 0;
  int64_t next_step_ = 0;
  std::deque<Running> waiting_;
  std::vector<Running> running_;   // in order of admission
  std::vector<int64_t> released_;  // ids for the next plan
  std::deque<int64_t> under_way_;  // steps, the oldest first
};

}  // namespace cohort
