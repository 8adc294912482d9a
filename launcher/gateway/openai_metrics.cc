#include "launcher/gateway/openai_metrics.h"

#include <vector>

namespace cohort {
namespace {

std::vector<std::string> prefixes(bool vllm_names) {
  std::vector<std::string> names = {"cohort:"};
  if (vllm_names) names.emplace_back("vllm:");
  return names;
}

}  // namespace

OpenAiMetrics::OpenAiMetrics(const std::string& model_name, bool vllm_names)
    : registry_(prefixes(vllm_names), {{"model_name", model_name}, {"engine", "0"}}), metrics_(registry_) {}

void OpenAiMetrics::add(const GenerationRecord& record) {
  metrics_.request_success(record.outcome).add();
  metrics_.e2e_request_latency.observe(record.total_seconds);
  for (const SequenceRecord& sequence : record.sequences) {
    if (sequence.first_token_seconds < 0) continue;
    metrics_.time_to_first_token.observe(sequence.first_token_seconds);
    metrics_.request_queue_time.observe(sequence.queue_seconds);
    metrics_.request_prefill_time.observe(sequence.first_token_seconds - sequence.queue_seconds);
    metrics_.request_decode_time.observe(sequence.last_token_seconds - sequence.first_token_seconds);
  }
}

std::string OpenAiMetrics::text(const EngineStats& stats) {
  metrics_.num_requests_running.set(static_cast<double>(stats.num_running));
  metrics_.num_requests_waiting.set(static_cast<double>(stats.num_waiting));
  const auto num_blocks = static_cast<double>(stats.num_blocks);
  metrics_.kv_cache_usage_perc.set(num_blocks == 0 ? 0 : static_cast<double>(stats.num_owned_blocks) / num_blocks);
  metrics_.prompt_tokens_total.raise_to(static_cast<double>(stats.num_prompt_tokens));
  metrics_.generation_tokens_total.raise_to(static_cast<double>(stats.num_output_tokens));
  metrics_.prefix_cache_queries_total.raise_to(static_cast<double>(stats.num_prefix_queries));
  metrics_.prefix_cache_hits_total.raise_to(static_cast<double>(stats.num_prefix_hits));
  metrics_.num_preemptions_total.raise_to(static_cast<double>(stats.num_preemptions));
  return registry_.text();
}

}  // namespace cohort
