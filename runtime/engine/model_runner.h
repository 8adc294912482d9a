// ModelRunner: executes step plans on one rank: its stage's layers, its part of the cache, and sampling where the rank
// is the one that samples.
//
// Every rank of a replica executes the same plans in the same order. One thread.
#pragma once

#include <optional>
#include <vector>

#include "parallel/comm/rank_comms.h"
#include "parallel/health/monitor.h"
#include "runtime/cache/kv_cache.h"
#include "runtime/engine/engine_options.h"
#include "runtime/engine/sequence_table.h"
#include "runtime/engine/step_batch.h"
#include "runtime/layers/decoder.h"

namespace cohort {

class ModelRunner {
 public:
  // All arguments outlive the runner; `monitor` may be null. Takes the memory of the cache and the workspace here and
  // none later.
  ModelRunner(const Decoder& decoder, const RankComms& comms, const EngineOptions& options, Stream& stream,
              Monitor* monitor = nullptr);

  // Runs this rank's part of the step. Returns what was sampled on the rank that samples, nothing on others.
  std::optional<wire::StepResult> execute(const wire::StepPlan& plan);

  // Called with every intermediate of every step from now on; for tests. Null switches it off.
  void set_probe(ProbeFunction probe) { probe_ = std::move(probe); }

  const Decoder& decoder() const { return decoder_; }
  const EngineOptions& options() const { return options_; }
  Monitor* monitor() const { return monitor_; }
  int64_t num_cache_bytes() const { return cache_.shape().bytes_per_block() * options_.num_blocks; }
  int64_t num_workspace_bytes() const { return workspace_.num_bytes(); }

 private:
  // Fills batch_, and sampled_sequences_ with those whose last token is in it.
  void fill_batch(const wire::StepPlan& plan);
  wire::StepResult sample_rows(int64_t step, TensorView logits);
  // The same in host memory, where sampling runs: a copy that waits for the step, or on the CPU the logits themselves.
  TensorView on_host(TensorView logits);

  const Decoder& decoder_;
  const RankComms& comms_;
  const EngineOptions options_;
  Stream& stream_;
  Monitor* monitor_;
  SequenceTable sequences_;
  KvCache cache_;
  Workspace workspace_;
  StepBatch batch_;
  Stream host_stream_;  // of sampling
  Tensor host_logits_;  // [max_seqs, vocab] float32; empty on the CPU and where nothing is sampled
  Tensor sampled_;      // [max_seqs] int32
  std::vector<const SequenceTable::Entry*> sampled_sequences_;  // of each logit row
  ProbeFunction probe_;
};

}  // namespace cohort
