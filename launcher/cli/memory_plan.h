// MemoryPlan: what a rank takes of its device's memory, counted before any is taken, and what would fit when it is too
// much. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/engine/engine_options.h"
#include "runtime/engine/load_model.h"

namespace cohort {

// All in bytes.
struct MemoryPlan {
  int64_t available = 0;  // to this rank, before it takes any
  int64_t weights = 0;
  int64_t workspace = 0;  // activations of the largest step, and what sampling takes
  int64_t reserve = 0;    // what libraries take; see library_reserve
  int64_t cache = 0;

  int64_t left_for_cache() const { return available - weights - workspace - reserve; }
};

// Whose memory is planned.
struct MemoryOwner {
  Device device;
  ParallelLayout layout;
  ModelShard shard;
  int num_ranks_of_host = 1;
};

// What a rank takes besides its tensors: on CUDA kernels that are loaded, cuBLASLt's handle and workspace, batches,
// and graphs of decode steps; with other ranks NCCL's buffers and mailboxes. 0 on the CPU.
int64_t library_reserve(const MemoryOwner& owner);

// All but the cache. `options`: its max_seqs and max_tokens_per_step.
MemoryPlan plan_memory(const OpenModel& model, const MemoryOwner& owner, const EngineOptions& options,
                       int64_t available);

// RESOURCE_EXHAUSTED unless weights, activations and the reserve leave room; says which smaller step, how many shards
// or, where no number of shards does, how many stages would fit.
Status check_model_fits(const MemoryPlan& plan, const OpenModel& model, const MemoryOwner& owner,
                        const EngineOptions& options);

// RESOURCE_EXHAUSTED unless a cache of `num_blocks`, of `bytes_per_block` each, fits what is left; says how many do.
// `why`: what wants so many, the begin of the message.
Status check_cache_fits(const MemoryPlan& plan, int64_t num_blocks, int64_t bytes_per_block, const std::string& why);

}  // namespace cohort
