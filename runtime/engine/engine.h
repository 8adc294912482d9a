// Engine: runs the requests of one replica, step by step.
//
// A step takes every running sequence: one token of those that decode, a chunk of the prompt of those that prefill,
// together at most max_tokens_per_step. Waiting requests start in order of arrival, once the cache has blocks for
// their prompt and all their output, so that no sequence ever has to stop for want of one.
//
// One thread.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "runtime/cache/block_allocator.h"
#include "runtime/cache/kv_cache.h"
#include "runtime/engine/step_batch.h"
#include "runtime/layers/decoder.h"

namespace cohort {

struct EngineOptions {
  int64_t block_size = 16;            // positions a block of the cache
  int64_t num_blocks = 1024;          // of the cache
  int64_t max_tokens_per_step = 512;  // at least max_seqs
  int64_t max_seqs = 64;              // sequences that run at once
};

// A token that a step sampled.
struct TokenEvent {
  int64_t request_id = 0;
  int32_t token = 0;
  FinishReason finish = FinishReason::kNone;
  std::vector<TokenLogprob> top_logprobs;  // as many as the request wants, before penalties and temperature
};

class Engine {
 public:
  // `stream` and `decoder` outlive the engine; the engine takes the cache's and the workspace's memory here and none
  // later.
  Engine(const Decoder& decoder, const EngineOptions& options, Stream& stream);

  // Queues a request and returns its id. INVALID_ARGUMENT names the field that is wrong; RESOURCE_EXHAUSTED if the
  // cache could never hold it.
  Result<int64_t> submit(GenerationRequest request);

  bool has_work() const { return !waiting_.empty() || !running_.empty(); }
  // One pass of the model. Requires has_work().
  std::vector<TokenEvent> step();

  // Called with every intermediate of every step from now on; for tests. Null switches it off.
  void set_probe(ProbeFunction probe) { probe_ = std::move(probe); }

  const BlockAllocator& blocks() const { return blocks_; }
  int64_t num_cache_bytes() const { return cache_.shape().bytes_per_block() * blocks_.num_blocks(); }

 private:
  int64_t blocks_needed(const GenerationRequest& request) const;
  void admit();
  // Fills batch_; returns how many tokens of each running sequence are in it.
  std::vector<int64_t> plan();
  std::vector<TokenEvent> sample_rows(TensorView logits, const std::vector<size_t>& rows);
  void retire_finished();

  const Decoder& decoder_;
  EngineOptions options_;
  Stream& stream_;
  BlockAllocator blocks_;
  KvCache cache_;
  Workspace workspace_;
  StepBatch batch_;
  Tensor sampled_;  // [max_seqs] int32
  ProbeFunction probe_;

  int64_t next_request_id_ = 0;
  std::deque<Sequence> waiting_;
  std::vector<Sequence> running_;
  std::vector<bool> is_finished_;  // beside running_, set by sample_rows
};

}  // namespace cohort
