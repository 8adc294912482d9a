#include "runtime/metrics/generation_metrics.h"

#include <string>
#include <vector>

namespace cohort {
namespace {

// Upper ends of buckets, in seconds.
const std::vector<double> kFirstTokenBounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                               1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
const std::vector<double> kTokenGapBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,  0.15, 0.2,  0.3,
                                             0.4,   0.5,    0.75,  1.0,  2.5,   5.0,  7.5,   10.0, 20.0, 40.0, 80.0};
const std::vector<double> kRequestBounds = {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                                            30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};

}  // namespace

GenerationMetrics::GenerationMetrics(MetricsRegistry& the_registry)
    : registry(the_registry),
      num_requests_running(registry.gauge("num_requests_running", "Sequences that run.")),
      num_requests_waiting(registry.gauge("num_requests_waiting", "Sequences that wait to run.")),
      kv_cache_usage_perc(registry.gauge("kv_cache_usage_perc", "Share of the cache's blocks in use, 0 to 1.")),
      prompt_tokens_total(registry.counter("prompt_tokens_total", "Tokens of prompts that were processed.")),
      generation_tokens_total(registry.counter("generation_tokens_total", "Tokens that were generated.")),
      prefix_cache_queries_total(
          registry.counter("prefix_cache_queries_total", "Tokens of prompts that were looked for in the cache.")),
      prefix_cache_hits_total(
          registry.counter("prefix_cache_hits_total", "Tokens of prompts that were found in the cache.")),
      num_preemptions_total(registry.counter("num_preemptions_total", "Sequences that had to give their blocks back.")),
      num_cancelled_total(registry.counter("num_cancelled_total", "Requests that the engine was told to drop.")),
      num_errors_total(registry.counter("num_errors_total", "Requests whose logits were not numbers.")),
      time_to_first_token(
          registry.histogram("time_to_first_token_seconds", "From a request to its first token.", kFirstTokenBounds)),
      inter_token_latency(registry.histogram("inter_token_latency_seconds", "From a token to the next of its sequence.",
                                             kTokenGapBounds)),
      e2e_request_latency(registry.histogram("e2e_request_latency_seconds", "From a request to the end of its answer.",
                                             kRequestBounds)),
      request_queue_time(
          registry.histogram("request_queue_time_seconds", "From a request to its first step.", kRequestBounds)),
      request_prefill_time(registry.histogram("request_prefill_time_seconds",
                                              "From a request's first step to its first token.", kRequestBounds)),
      request_decode_time(registry.histogram("request_decode_time_seconds", "From a request's first token to its last.",
                                             kRequestBounds)) {
  for (const std::string_view reason : {"stop", "length", "abort", "error"}) request_success(reason);
}

Counter& GenerationMetrics::request_success(std::string_view finished_reason) {
  return registry.counter("request_success_total", "Requests that ended, by why.",
                          {{"finished_reason", std::string(finished_reason)}});
}

}  // namespace cohort
