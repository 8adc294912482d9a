// EngineStats: what an engine counts, as its scheduler, the engine link and the gateway have it.
#pragma once

#include <cstdint>

namespace cohort {

// Counted since the start where nothing else is said.
struct EngineStats {
  int64_t num_steps = 0;          // completed
  int64_t num_running = 0;        // sequences now
  int64_t num_waiting = 0;        // now
  int64_t num_owned_blocks = 0;   // now
  int64_t num_cached_blocks = 0;  // now: free to be taken, and holding a prefix
  int64_t num_blocks = 0;
  int64_t num_prompt_tokens = 0;  // of requests that began to run
  int64_t num_output_tokens = 0;
  int64_t num_prefix_queries = 0;  // tokens looked for in the cache: those of prompts, once
  int64_t num_prefix_hits = 0;     // and found
  int64_t num_preemptions = 0;
  int64_t num_cancelled = 0;  // requests
  int64_t num_errors = 0;     // requests whose logits were not numbers

  bool operator==(const EngineStats&) const = default;
};

}  // namespace cohort
