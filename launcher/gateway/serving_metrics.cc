#include "launcher/gateway/serving_metrics.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace cohort {
namespace {

std::vector<std::string> prefixes(bool vllm_names) {
  std::vector<std::string> names = {"cohort:"};
  if (vllm_names) names.emplace_back("vllm:");
  return names;
}

double microseconds(const InferenceStatistics::Duration& duration) { return static_cast<double>(duration.ns / 1000); }

}  // namespace

void InferenceStatistics::Duration::add(double seconds) {
  ++count;
  ns += std::llround(std::max(seconds, 0.0) * 1e9);
}

ServingMetrics::KserveMetrics::KserveMetrics(MetricsRegistry& registry)
    : request_success(registry.counter("request_success", "Requests that went well.")),
      request_failure(registry.counter("request_failure", "Requests that failed or whose client went away.")),
      count(registry.counter("count", "Sequences of requests that went well.")),
      exec_count(registry.counter("exec_count", "Steps of the engine.")),
      pending_request_count(registry.gauge("pending_request_count", "Sequences that wait to run.")),
      request_duration_us(registry.counter("request_duration_us", "Time of requests that went well.")),
      queue_duration_us(registry.counter("queue_duration_us", "Of it in the engine's queue.")),
      compute_input_duration_us(registry.counter("compute_input_duration_us", "Of it before the engine had them.")),
      compute_infer_duration_us(registry.counter("compute_infer_duration_us", "Of it in steps, with the answer's.")),
      compute_output_duration_us(
          registry.counter("compute_output_duration_us", "0: answers are written while the engine runs.")) {}

ServingMetrics::ServingMetrics(const std::string& model_name, bool vllm_names)
    : registry_(prefixes(vllm_names), {{"model_name", model_name}, {"engine", "0"}}),
      metrics_(registry_),
      kserve_registry_({"nv_inference_"}, {{"model", model_name}, {"version", "1"}}),
      kserve_(kserve_registry_) {}

void ServingMetrics::add(const GenerationRecord& record) {
  metrics_.request_success(record.outcome).add();
  metrics_.e2e_request_latency.observe(record.total_seconds);
  double queue_seconds = 0;
  for (const SequenceRecord& sequence : record.sequences) {
    if (sequence.first_token_seconds < 0) continue;
    metrics_.time_to_first_token.observe(sequence.first_token_seconds);
    metrics_.request_queue_time.observe(sequence.queue_seconds);
    metrics_.request_prefill_time.observe(sequence.first_token_seconds - sequence.queue_seconds);
    metrics_.request_decode_time.observe(sequence.last_token_seconds - sequence.first_token_seconds);
    queue_seconds = std::max(queue_seconds, sequence.queue_seconds);
  }

  statistics_.last_inference_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  if (record.outcome == "error") return statistics_.fail.add(record.total_seconds);
  if (record.outcome == "abort") return statistics_.cancel.add(record.total_seconds);
  statistics_.success.add(record.total_seconds);
  statistics_.queue.add(queue_seconds);
  statistics_.compute_input.add(record.prepare_seconds);
  statistics_.compute_infer.add(record.total_seconds - record.prepare_seconds - queue_seconds);
  statistics_.num_sequences += static_cast<int64_t>(record.sequences.size());
}

std::string ServingMetrics::text(const EngineStats& stats) {
  metrics_.num_requests_running.set(static_cast<double>(stats.num_running));
  metrics_.num_requests_waiting.set(static_cast<double>(stats.num_waiting));
  const auto num_blocks = static_cast<double>(stats.num_blocks);
  metrics_.kv_cache_usage_perc.set(num_blocks == 0 ? 0 : static_cast<double>(stats.num_owned_blocks) / num_blocks);
  metrics_.prompt_tokens_total.raise_to(static_cast<double>(stats.num_prompt_tokens));
  metrics_.generation_tokens_total.raise_to(static_cast<double>(stats.num_output_tokens));
  metrics_.prefix_cache_queries_total.raise_to(static_cast<double>(stats.num_prefix_queries));
  metrics_.prefix_cache_hits_total.raise_to(static_cast<double>(stats.num_prefix_hits));
  metrics_.num_preemptions_total.raise_to(static_cast<double>(stats.num_preemptions));
  metrics_.num_cancelled_total.raise_to(static_cast<double>(stats.num_cancelled));
  metrics_.num_errors_total.raise_to(static_cast<double>(stats.num_errors));

  kserve_.request_success.raise_to(static_cast<double>(statistics_.success.count));
  kserve_.request_failure.raise_to(static_cast<double>(statistics_.fail.count + statistics_.cancel.count));
  kserve_.count.raise_to(static_cast<double>(statistics_.num_sequences));
  kserve_.exec_count.raise_to(static_cast<double>(stats.num_steps));
  kserve_.pending_request_count.set(static_cast<double>(stats.num_waiting));
  kserve_.request_duration_us.raise_to(microseconds(statistics_.success));
  kserve_.queue_duration_us.raise_to(microseconds(statistics_.queue));
  kserve_.compute_input_duration_us.raise_to(microseconds(statistics_.compute_input));
  kserve_.compute_infer_duration_us.raise_to(microseconds(statistics_.compute_infer));
  return registry_.text() + kserve_registry_.text();
}

}  // namespace cohort
