// What the requests of a load come to, as a table and as JSON whose names are those of vLLM's benchmark.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/loadgen/load_run.h"
#include "launcher/loadgen/statistics.h"

namespace cohort {

// Of the requests that went well:
//   ttft  from sending a request to its first output
//   tpot  time per output token after the first: (last output - first output) / (tokens - 1), of each request
//   itl   between one piece of output and the next, of all requests together
//   e2el  from sending a request to its last output
inline constexpr std::string_view kLatencyMetrics[] = {"ttft", "tpot", "itl", "e2el"};

// The most that a latency may be, of a request that counts as good; itl: the mean of the request's own.
struct ServiceLevel {
  std::string metric;
  double limit_ms = 0;
};

struct LoadSetup {
  double request_rate = 0;  // requests a second; may be infinite
  double burstiness = 1;
  int64_t max_concurrency = 0;        // 0: no limit
  std::vector<double> percents = {};  // of each metric's percentiles
  std::vector<ServiceLevel> service_levels = {};
};

struct FailureCount {
  int64_t count = 0;
  std::string example;  // what was said of the first
};

struct LoadReport {
  LoadSetup setup;
  double seconds = 0;
  int64_t num_completed = 0;
  int64_t num_failed = 0;
  std::map<std::string, FailureCount> failures;  // by kind
  int64_t num_good = 0;                          // kept every service level; all that completed where there are none
  int64_t num_prompt_tokens = 0;                 // of the completed, as are all below
  int64_t num_output_tokens = 0;
  int64_t num_without_usage = 0;  // whose tokens are pieces of output, since the server told no number
  double mean_concurrency = 0;    // requests under way, failed ones too, over the time
  int64_t max_concurrency = 0;    // reached
  double offered_rate = 0;        // requests a second that were due, by the arrivals as drawn
  std::map<std::string, Distribution> latencies_ms;  // of kLatencyMetrics
  // Of all requests, ms: how late they were sent, because this program was busy; and how long they were held back by
  // max_concurrency.
  Distribution send_lag_ms;
  Distribution held_ms;
  int64_t num_held = 0;

  double request_throughput() const { return per_second(num_completed); }
  double goodput() const { return per_second(num_good); }
  double output_throughput() const { return per_second(num_output_tokens); }
  double total_throughput() const { return per_second(num_prompt_tokens + num_output_tokens); }

 private:
  double per_second(int64_t count) const { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }
};

LoadReport make_report(const LoadSetup& setup, const LoadResult& result);

// A table for people, with the latencies of `metrics`.
std::string format_report(const LoadReport& report, std::span<const std::string> metrics);

// A line a load, under a heading.
std::string format_sweep(std::span<const LoadReport> reports);

nlohmann::ordered_json report_json(const LoadReport& report);

}  // namespace cohort
