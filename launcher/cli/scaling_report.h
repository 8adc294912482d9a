// What `cohort bench scaling` found out, and how it says so. Pure functions of what was measured.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/cli/engine_load.h"
#include "launcher/cli/rank_engine.h"
#include "launcher/cli/scaling_layout.h"

namespace cohort {

// What a rank took of its device's memory, in bytes. On CUDA the total is what the device has less since before the
// engine was made, and libraries what is left of it: kernels, cuBLASLt, NCCL, mailboxes, the smaller tensors. On the
// CPU it is the sum of the others.
struct ScalingMemory {
  int64_t weights = 0;
  int64_t cache = 0;
  int64_t workspace = 0;
  int64_t graphs = 0;
  int64_t libraries = 0;
  int64_t total = 0;
  int64_t kept = 0;  // of total, what the device still has less when the engine is gone
};

struct ScalingRank {
  std::string host;
  int stage = 0;
  int shard = 0;
  ScalingMemory memory;
  RankEngine::StartUp start_up;
  double load_s = 0;     // all of start_up
  double copy_gbps = 0;  // of a copy on this rank's device while the layout's other ranks make theirs
  StepBytes bytes;
};

struct Percentiles {
  double p50 = 0;
  double p99 = 0;
};

// A batch on a layout. A step is a round in which every sequence gets a token: with a pipeline that is a pass of each
// micro-batch.
struct ScalingMeasure {
  int64_t batch = 0;
  int64_t output_length = 0;  // of each sequence, so that all of them decode together for as long as was asked for
  double prefill_ms = 0;      // from the begin until every sequence has its first token
  Percentiles step_ms;        // between tokens of a sequence while all sequences decode
  Percentiles ttft_ms;        // of the batch's requests, which are all there at the begin
  Percentiles itl_ms;         // between any tokens of a sequence, so that prefills of others count
  double output_tokens_per_second = 0;  // over all of it, prefill counted
  // What a step takes at the least, at copy_gbps. floor_ms: of this layout, whose stages work on a sequence one after
  // the other. floor_together_ms: when all ranks read all the time.
  double floor_ms = 0;
  double floor_together_ms = 0;
  // Of a step, on the ranks' average: see step_comms.h.
  double all_reduce_share = 0;
  double pipeline_share = 0;
  double idle_share = 0;  // of the leader's device between steps

  double decode_tokens_per_second() const { return 1e3 * static_cast<double>(batch) / step_ms.p50; }
};

struct ScalingResult {
  ScalingLayout layout;
  std::vector<ScalingRank> ranks;
  std::vector<ScalingMeasure> measures;  // by batch

  // Requires that it was measured.
  const ScalingMeasure& measure_of(int64_t batch) const;
};

struct ScalingReport {
  nlohmann::ordered_json head;  // what was measured on what
  std::vector<int64_t> batches;
  int64_t input_length = 0;
  int64_t output_length = 0;
  bool has_weak = false;
  std::vector<ScalingResult> results;  // the first is what the others are compared with
};

// Sets the floors of `measure` from the bytes that the ranks read.
void set_floors(ScalingMeasure& measure, const ScalingResult& result, int64_t input_length);

// Layouts side by side: strong scaling has the same batch on all, weak scaling `batch` times the ranks of each.
struct ScalingPoint {
  std::string layout;
  int num_ranks = 1;
  int64_t batch = 1;
  double decode_tokens_per_second = 0;
  double step_ms = 0;
  double floor_ms = 0;
  double speed_up = 1;          // of decode tokens a second over the first layout's
  double efficiency = 1;        // speed-up by how many times as many ranks there are
  double prefill_speed_up = 1;  // of prompt tokens a second
};
struct ScalingSeries {
  bool is_weak = false;
  int64_t batch = 1;                 // of the layout, or with weak scaling of a rank
  std::vector<ScalingPoint> points;  // by layout
};
std::vector<ScalingSeries> scaling_series(const ScalingReport& report);

// For people: what each layout is made of, a line a layout and batch, and what more ranks bring.
std::string format_scaling_table(const ScalingReport& report);
// The head's members, then {"input_length", "output_length", "layouts": [{"layout", "num_ranks", "start_up_s",
// "memory": [a rank's bytes], "results": [a batch's measures]}], "strong" and "weak": [{"batch", "points"}]}.
nlohmann::ordered_json scaling_json(const ScalingReport& report);

}  // namespace cohort
