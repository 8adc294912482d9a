// ServingMetrics: what GET /metrics shows, and what KServe's statistics say: of generation, whatever protocol it came
// by.
//
// Of the gateway's io thread.
#pragma once

#include <cstdint>
#include <string>

#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/generation.h"
#include "runtime/metrics/generation_metrics.h"
#include "runtime/metrics/metrics.h"

namespace cohort {

// Of all requests since the start, as the statistics extension of KServe's protocol counts them.
struct InferenceStatistics {
  struct Duration {
    int64_t count = 0;
    int64_t ns = 0;
    void add(double seconds);
  };
  Duration success;
  Duration fail;
  Duration cancel;  // the client has gone
  // Of those that went well: in the engine's queue, before it, and in its steps.
  Duration queue;
  Duration compute_input;
  Duration compute_infer;
  int64_t num_sequences = 0;      // of those that went well
  int64_t last_inference_ms = 0;  // when one last ended, since 1970
};

class ServingMetrics {
 public:
  // With `vllm_names` each metric is also there under vLLM's name.
  ServingMetrics(const std::string& model_name, bool vllm_names);

  void add_token_gap(double seconds) { metrics_.inter_token_latency.observe(seconds); }
  void add(const GenerationRecord& record);

  const InferenceStatistics& statistics() const { return statistics_; }

  // Prometheus' text, with what the engine counts as `stats` say.
  std::string text(const EngineStats& stats);

 private:
  // Under the names that Triton's dashboards read; times in microseconds.
  struct KserveMetrics {
    explicit KserveMetrics(MetricsRegistry& registry);
    Counter& request_success;
    Counter& request_failure;
    Counter& count;
    Counter& exec_count;
    Gauge& pending_request_count;
    Counter& request_duration_us;
    Counter& queue_duration_us;
    Counter& compute_input_duration_us;
    Counter& compute_infer_duration_us;
    Counter& compute_output_duration_us;
  };

  MetricsRegistry registry_;
  GenerationMetrics metrics_;
  MetricsRegistry kserve_registry_;
  KserveMetrics kserve_;
  InferenceStatistics statistics_;
};

}  // namespace cohort
