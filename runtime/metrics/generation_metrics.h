// GenerationMetrics: what is measured of generation, under the names that vLLM's dashboards read.
//
// Any thread.
#pragma once

#include <string_view>

#include "runtime/metrics/metrics.h"

namespace cohort {

struct GenerationMetrics {
  // Of `registry`, which must outlive it and whose prefix ("cohort:") stands before each name.
  explicit GenerationMetrics(MetricsRegistry& registry);

  // "stop", "length", "abort", "error"
  Counter& request_success(std::string_view finished_reason);

  MetricsRegistry& registry;

  // Now.
  Gauge& num_requests_running;
  Gauge& num_requests_waiting;
  Gauge& kv_cache_usage_perc;  // of the blocks, 0 to 1

  // Tokens where nothing else is said.
  Counter& prompt_tokens_total;
  Counter& generation_tokens_total;
  Counter& prefix_cache_queries_total;
  Counter& prefix_cache_hits_total;
  Counter& num_preemptions_total;  // sequences
  Counter& num_cancelled_total;    // requests
  Counter& num_errors_total;       // requests

  // Seconds.
  Histogram& time_to_first_token;
  Histogram& inter_token_latency;
  Histogram& e2e_request_latency;
  Histogram& request_queue_time;
  Histogram& request_prefill_time;  // from the first step to the first token
  Histogram& request_decode_time;   // from the first token to the last
};

}  // namespace cohort
