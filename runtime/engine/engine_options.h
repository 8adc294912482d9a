// What every rank of a replica must know alike about its steps.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace cohort {

struct EngineOptions {
  int64_t block_size = 16;                                    // positions a block of the cache
  int64_t num_blocks = 1024;                                  // of the cache
  int64_t max_tokens_per_step = 512;                          // at least max_seqs
  int64_t max_seqs = 64;                                      // sequences that run at once
  int64_t max_waiting = std::numeric_limits<int64_t>::max();  // requests beside those; more are refused
  bool shares_prefixes = true;  // requests share the blocks of equal beginnings, where the model allows it
  // A step is planned and prepared while the one before runs; what that samples is fed to it on the device. With one
  // stage only: several keep each other busy with micro-batches.
  bool overlap_steps = false;
  bool use_graphs = false;                // decode steps are CUDA graphs; CUDA only
  std::chrono::seconds step_timeout{30};  // after which the monitor ends the job
};

}  // namespace cohort
