// ModelRunner: executes step plans on one rank: its stage's layers, its part of the cache, and sampling, or of an
// encoder what it answers, where the rank is the one that samples.
//
// Every rank of a replica starts the same plans in the same order. On CUDA a step is queued and the next may be started
// while it runs; nothing in a step waits for the device or takes memory. One thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "kernels/core/device_graph.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/rank_comms.h"
#include "parallel/health/monitor.h"
#include "runtime/cache/kv_cache.h"
#include "runtime/engine/engine_options.h"
#include "runtime/engine/sequence_table.h"
#include "runtime/engine/step_batch.h"
#include "runtime/engine/step_encoder.h"
#include "runtime/engine/step_sampler.h"
#include "runtime/engine/step_timer.h"
#include "runtime/layers/decoder.h"

namespace cohort {

// Batch sizes whose decode steps are graphs: a step of another size is padded to the next of them. Powers of two up to
// 8, then ever coarser multiples, so that padding costs little and there are few; the last is max_seqs.
std::vector<int64_t> graph_batch_sizes(int64_t max_seqs);

class ModelRunner {
 public:
  static constexpr int64_t kMaxUnderWay = StepSampler::kMaxUnderWay;

  // All arguments outlive the runner; `monitor` may be null. Takes the memory of the cache and the workspace here and
  // none later but that of graphs.
  ModelRunner(const Decoder& decoder, const RankComms& comms, const EngineOptions& options, Stream& stream,
              Monitor* monitor = nullptr);

  // On CUDA: runs steps of the sizes that will come, in vain, so that no later one loads kernels or chooses algorithms,
  // and makes the graphs that options.use_graphs asks for. Every rank of the replica takes part, before the first step.
  // `report` is told how many graphs of how many are done, and may be empty.
  void prepare(const std::function<void(int64_t num_done, int64_t num_graphs)>& report);

  // Starts this rank's part of the step.
  void start(const wire::StepPlan& plan);
  // What the oldest step that was started and not finished has sampled or encoded; waits for it. Requires the rank that
  // samples, as what follows does.
  wire::StepResult finish();
  // Steps that were started and not finished. With kMaxUnderWay no other may be started.
  int64_t num_under_way() const { return encoder_ ? encoder_->num_under_way() : sampler_.value().num_under_way(); }
  // Whether finish() would not wait. Requires a step under way.
  bool is_done() const { return encoder_ ? encoder_->is_done() : sampler_.value().is_done(); }

  // Called with every intermediate of every step from now on; for tests. Null switches it off.
  void set_probe(ProbeFunction probe) { probe_ = std::move(probe); }
  // Times the device's part of every step from now on. Null switches it off.
  void set_timer(StepTimer* timer) { timer_ = timer; }

  const Decoder& decoder() const { return decoder_; }
  const EngineOptions& options() const { return options_; }
  Monitor* monitor() const { return monitor_; }
  int64_t num_cache_bytes() const { return cache_.shape().bytes_per_block() * options_.num_blocks; }
  int64_t num_graph_bytes() const { return num_graph_bytes_; }
  // What the graph of a decode step of `num_seqs` sequences, padded, says to other ranks, in its order. Requires
  // prepare() with graphs, and num_seqs <= max_seqs.
  const std::vector<FlightRecorder::Call>& graph_calls(int64_t num_seqs) const {
    return graphs_.lower_bound(num_seqs)->second.calls;
  }

 private:
  struct StepGraph {
    DeviceGraph graph;
    std::vector<FlightRecorder::Call> calls;  // that it holds
  };

  // The longest prefill that can be, of token 0, to the cache's first blocks, which nobody owns yet.
  void warm_up_prefill();
  // Fills batch_, and sampled_sequences_ with those whose last token is in it.
  void fill_batch(const wire::StepPlan& plan);
  // Queues the encoding of the sources in source_batch_, if any.
  void encode_sources();
  // The graph for what is in batch_, which is padded to fit it; null if there is none.
  const DeviceGraph* pad_for_graph();
  // What a graph holds: from the fed tokens to the logits, if they are made here. Returns those.
  TensorView forward(const BatchView& batch);
  void sample_step(int64_t step);
  void encode_step(int64_t step, TensorView logits);

  const Decoder& decoder_;
  const RankComms& comms_;
  const EngineOptions options_;
  Stream& stream_;
  Monitor* monitor_;
  StepTimer* timer_ = nullptr;
  SequenceTable sequences_;
  KvCache cache_;
  Workspace workspace_;
  StepBatch batch_;
  std::optional<StepBatch> source_batch_;                 // of models with sources: those that the step encodes
  Tensor sampled_;                                        // [max_seqs] int32: of the step last started
  std::optional<StepSampler> sampler_;                    // of the rank that samples
  std::optional<StepEncoder> encoder_;                    // of an encoder, in its place
  std::vector<SequenceTable::Entry*> sampled_sequences_;  // whose last token is in the step
  std::map<int64_t, StepGraph> graphs_;                   // by batch size
  int64_t num_graph_bytes_ = 0;
  ProbeFunction probe_;
};

}  // namespace cohort
