// RankPlan: what a rank will hold and run, decided by all ranks together before any weights are loaded.
#pragma once

#include <string>
#include <vector>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/memory_plan.h"
#include "parallel/layout/parallel_layout.h"
#include "runtime/config/config.h"
#include "runtime/decoding/request.h"
#include "runtime/engine/engine_options.h"
#include "runtime/engine/load_model.h"

namespace cohort {

struct RankPlan {
  ParallelLayout layout;
  ModelShard shard;
  EngineOptions engine;  // the same on every rank
  MemoryPlan memory;
};

// The sizes of the configuration. UsageError unless they make as many ranks as there are.
ParallelLayout make_layout(const Job& job, const Config& config);

// What `requests` (of a leader; none on other ranks) need of the cache and how much of it fits every rank decide its
// size, in the memory of `device`; without any requests it is what fits. Every rank takes part. JobFailure when
// weights, activations or the cache do not fit, on any rank; it says what would.
RankPlan make_rank_plan(Job& job, const Config& config, const OpenModel& model, const ParallelLayout& layout,
                        Device device, const std::vector<GenerationRequest>& requests);

// A table of every rank's part, for people. Every rank takes part; rank 0 gets the text.
std::string rank_table(Job& job, const RankPlan& plan);

}  // namespace cohort
