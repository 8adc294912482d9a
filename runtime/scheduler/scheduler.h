// Scheduler: decides what each step of a replica computes. Pure host code: no ranks, no devices, no clock; the same
// calls give the same plans. README.md says how a plan is made and what holds.
//
// A step takes one token of every sequence that has one to compute and chunks of the prompts under way, together at
// most max_tokens_per_step. Requests start in the order of WaitingQueue, once the cache has blocks for their known
// tokens; a sequence gets more as it grows. When there are none left, the sequence that is last in line loses its own,
// waits, and is computed anew: its output is kept, and what was drawn is not drawn again.
//
// Plans may be asked for before earlier ones are completed, as a pipeline needs: a sequence whose next token is still
// being sampled is left out, and the running sequences are shared out among num_micro_batches plans, so that every
// stage has one to work on. Plans are completed in order.
//
// With overlap_steps a plan is made while the one before runs: a sequence goes on with a token that nobody knows yet,
// unless the number of tokens ends it or its penalties need them. One that the token turns out to end has been computed
// once more in vain.
//
// One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "runtime/decoding/encoding.h"
#include "runtime/decoding/engine_stats.h"
#include "runtime/decoding/request.h"
#include "runtime/scheduler/block_tables.h"
#include "runtime/scheduler/scheduled_request.h"
#include "runtime/scheduler/step_plan.pb.h"
#include "runtime/scheduler/tenant_shares.h"
#include "runtime/scheduler/waiting_queue.h"

namespace cohort {

struct SchedulerOptions {
  int64_t vocab = 0;
  int64_t max_position = 0;                                   // the longest sequence
  int64_t block_size = 16;                                    // positions a block of the cache
  int64_t num_blocks = 1024;                                  // of the cache
  int64_t max_tokens_per_step = 512;                          // at least max_seqs
  int64_t max_seqs = 64;                                      // sequences that run at once
  int64_t max_waiting = std::numeric_limits<int64_t>::max();  // requests beside max_seqs; more are refused
  int64_t num_micro_batches = 1;                              // plans under way at once, one a stage of the pipeline
  // A second plan may be under way whose sequences compute tokens that the first still samples. Requires one
  // micro-batch.
  bool overlap_steps = false;
  // Requests share the blocks of equal beginnings. Keys and values must not depend on anything behind them.
  bool shares_prefixes = true;
  // The model encodes: a sequence is one prompt, in one step, which must have room for the longest.
  bool encodes = false;
  // Of models with sources: prompts are such, and their outputs stand behind this token. A step must have room for the
  // longest source. Requires that nothing is shared.
  std::optional<int32_t> decoder_start_token = {};

  SequenceLimits limits() const { return {vocab, max_position, decoder_start_token.has_value()}; }
};

// A token that a step sampled; or, of an encoder, what became of a sequence, without a token.
struct TokenEvent {
  int64_t request_id = 0;
  int32_t token = 0;
  FinishReason finish = FinishReason::kNone;
  float logprob = 0;                       // of the token, where the request wants it
  std::vector<TokenLogprob> top_logprobs;  // as many as the request wants, before penalties and temperature
  // With the request's first token:
  int64_t num_cached_tokens = 0;             // of the prompt, not computed because another request had been
  double queue_s = 0;                        // seconds from submission to the first plan
  std::shared_ptr<const Encoding> encoding;  // of an encoder, unless `finish` is kError
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Queues a request and returns its id, which is also its sequence's. INVALID_ARGUMENT names the field that is wrong,
  // or says that the cache could never hold it; RESOURCE_EXHAUSTED: too many requests wait already. now_s: seconds,
  // of any clock that does not go back.
  Result<int64_t> submit(GenerationRequest request, double now_s);
  // The request gets no more tokens, and its blocks are there for the next plan. One that has ended, or never was, is
  // no mistake.
  void cancel(int64_t id);

  // Whether there is a request that has not ended or a plan under way.
  bool has_work() const { return !waiting_.empty() || !running_.empty() || !under_way_.empty(); }
  int64_t num_under_way() const { return static_cast<int64_t>(under_way_.size()); }

  // How many plans keep the ranks busy.
  int64_t max_under_way() const { return options_.overlap_steps ? 2 : options_.num_micro_batches; }
  // The next plan, or nothing when every running sequence waits for a token of a plan under way. With overlap_steps
  // less than two may be under way. There is a plan if there is a request and no plan under way.
  std::optional<wire::StepPlan> next_plan(double now_s);
  // Takes back a plan that was sent: the next one is made in its memory, which saves a third of the time.
  void recycle(wire::StepPlan plan);
  // Takes the result of the oldest plan under way. Throws CheckError if it is not that plan's.
  std::vector<TokenEvent> complete(const wire::StepResult& result);

  EngineStats stats() const;
  const BlockAllocator& blocks() const { return blocks_.allocator(); }
  // Throws CheckError if what README.md says of requests and blocks does not hold. Looks at everything; for tests.
  void check_invariants() const;

 private:
  // What a plan computes of a request.
  struct Work {
    ScheduledRequest* request;
    int64_t num_tokens;
  };

  // The phases of next_plan().
  void choose_decodes(std::vector<Work>& work);
  void admit();
  void choose_prefills(std::vector<Work>& work);
  wire::StepPlan write_plan(const std::vector<Work>& work, double now_s);

  // A fair share of the running sequences, so that what other stages need next is not all in one plan.
  int64_t max_seqs_per_plan() const;
  // Whether its next token is being sampled and it can go on before that is known here.
  bool can_be_fed(const ScheduledRequest& request) const;
  // Makes room for one token more; false if the request itself had to go.
  bool make_room(ScheduledRequest& request);
  void start(ScheduledRequest& request);
  void preempt(ScheduledRequest& request);
  // Takes a running request out of those that run; its blocks go back.
  void stop(ScheduledRequest& request, bool is_bad = false);
  // The request is answered or cancelled. It is no more unless a plan under way samples for it.
  void end(ScheduledRequest& request, bool is_bad = false);
  // Calls take(request) for the request of a result, if that has not ended, and adds the event to `events`.
  template <typename Take>
  void take_result(int64_t id, std::vector<TokenEvent>& events, const Take& take);
  TokenEvent take_token(ScheduledRequest& request, const wire::SampledToken& sampled);
  TokenEvent take_encoding(ScheduledRequest& request, const wire::EncodedSequence& encoded);

  const SchedulerOptions options_;
  BlockTables blocks_;
  TenantShares tenants_;
  std::unordered_map<int64_t, std::unique_ptr<ScheduledRequest>> requests_;  // by id
  WaitingQueue waiting_;
  std::vector<ScheduledRequest*> running_;  // in the order of goes_before()
  std::vector<int64_t> released_;           // ids for the next plan
  std::deque<int64_t> under_way_;           // steps, the oldest first
  wire::StepPlan spare_plan_;               // without anything in it
  int64_t next_request_id_ = 0;
  int64_t next_step_ = 0;
  EngineStats counts_;  // what is counted since the start
};

}  // namespace cohort
