// OpenAiMetrics: what GET /metrics shows of generation.
//
// Of the gateway's io thread.
#pragma once

#include <string>

#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/openai_generation.h"
#include "runtime/metrics/generation_metrics.h"
#include "runtime/metrics/metrics.h"

namespace cohort {

class OpenAiMetrics {
 public:
  // With `vllm_names` each metric is also there under vLLM's name.
  OpenAiMetrics(const std::string& model_name, bool vllm_names);

  void add_token_gap(double seconds) { metrics_.inter_token_latency.observe(seconds); }
  void add(const GenerationRecord& record);

  // Prometheus' text, with what the engine counts as `stats` say.
  std::string text(const EngineStats& stats);

 private:
  MetricsRegistry registry_;
  GenerationMetrics metrics_;
};

}  // namespace cohort
