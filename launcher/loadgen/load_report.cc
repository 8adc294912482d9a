#include "launcher/loadgen/load_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cohort {
namespace {

constexpr double kMsPerSecond = 1e3;

// Of one request, ms. NaN where it has none: one token has no time per further token.
double latency_ms(const RequestRecord& record, std::string_view metric) {
  const double decode = record.last_output - record.first_output;
  if (metric == "ttft") return kMsPerSecond * (record.first_output - record.sent);
  if (metric == "e2el") return kMsPerSecond * (record.last_output - record.sent);
  if (metric == "tpot" && record.num_output_tokens > 1) {
    return kMsPerSecond * decode / static_cast<double>(record.num_output_tokens - 1);
  }
  if (metric == "itl" && !record.gaps.empty()) return kMsPerSecond * decode / static_cast<double>(record.gaps.size());
  return std::nan("");
}

bool is_good(const RequestRecord& record, std::span<const ServiceLevel> levels) {
  return std::all_of(levels.begin(), levels.end(),
                     [&](const ServiceLevel& level) { return !(latency_ms(record, level.metric) > level.limit_ms); });
}

void append_latencies(std::vector<double>& values, const RequestRecord& record, std::string_view metric) {
  if (metric == "itl") {
    for (const double gap : record.gaps) values.push_back(kMsPerSecond * gap);
  } else if (const double value = latency_ms(record, metric); !std::isnan(value)) {
    values.push_back(value);
  }
}

std::string line(std::string_view what, const std::string& value) {
  return fmt::format("{:<44} {:>12}\n", what, value);
}
std::string line(std::string_view what, int64_t value) { return line(what, fmt::format("{}", value)); }
std::string line(std::string_view what, double value) { return line(what, fmt::format("{:.2f}", value)); }

std::string rate_text(double rate) { return std::isinf(rate) ? "inf" : fmt::format("{:g}", rate); }

// "p99", "p99.9"
std::string percentile_name(double percent) { return fmt::format("p{:g}", percent); }

std::string_view title_of(std::string_view metric) {
  if (metric == "ttft") return "Time to first token";
  if (metric == "tpot") return "Time per output token after the first";
  if (metric == "itl") return "Inter-token latency";
  return "End-to-end latency";
}

std::string upper(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::toupper(c); });
  return result;
}

void add_distribution(nlohmann::ordered_json& json, std::string_view name, const Distribution& values) {
  json[fmt::format("mean_{}_ms", name)] = values.mean;
  json[fmt::format("median_{}_ms", name)] = values.median;
  json[fmt::format("std_{}_ms", name)] = values.stddev;
  json[fmt::format("max_{}_ms", name)] = values.max;
  for (const auto& [percent, value] : values.percentiles) {
    json[fmt::format("{}_{}_ms", percentile_name(percent), name)] = value;
  }
}

}  // namespace

LoadReport make_report(const LoadSetup& setup, const LoadResult& result) {
  LoadReport report;
  report.setup = setup;
  report.seconds = result.seconds;
  report.max_concurrency = result.max_under_way;
  std::map<std::string, std::vector<double>> latencies;
  std::vector<double> lags, held;
  double busy = 0;
  for (const RequestRecord& record : result.requests) {
    lags.push_back(kMsPerSecond * std::max(0.0, record.sent - record.due - record.held));
    held.push_back(kMsPerSecond * record.held);
    report.num_held += record.held > 0 ? 1 : 0;
    busy += record.ended - record.sent;
    if (!record.failure.empty()) {
      ++report.num_failed;
      FailureCount& failure = report.failures[record.failure];
      if (failure.count++ == 0) failure.example = record.failure_message;
      continue;
    }
    ++report.num_completed;
    report.num_good += is_good(record, setup.service_levels) ? 1 : 0;
    report.num_prompt_tokens += record.num_prompt_tokens;
    report.num_output_tokens += record.num_output_tokens;
    report.num_without_usage += record.has_usage ? 0 : 1;
    for (const std::string_view metric : kLatencyMetrics) {
      append_latencies(latencies[std::string(metric)], record, metric);
    }
  }
  for (const std::string_view metric : kLatencyMetrics) {
    report.latencies_ms[std::string(metric)] = summarize(latencies[std::string(metric)], setup.percents);
  }
  report.send_lag_ms = summarize(lags, setup.percents);
  report.held_ms = summarize(held, setup.percents);
  report.mean_concurrency = result.seconds > 0 ? busy / result.seconds : 0;
  const double last_due = result.requests.empty() ? 0 : result.requests.back().due;
  report.offered_rate = last_due > 0 ? static_cast<double>(result.requests.size() - 1) / last_due : setup.request_rate;
  return report;
}

std::string format_report(const LoadReport& report, std::span<const std::string> metrics) {
  constexpr int kWidth = 57;
  std::string text = fmt::format("{:=^{}}\n", " Serving benchmark ", kWidth);
  text += line("Request rate (1/s)", rate_text(report.setup.request_rate));
  if (std::isfinite(report.offered_rate)) text += line("Arrived (1/s)", report.offered_rate);
  text += line("Successful requests", report.num_completed);
  text += line("Failed requests", report.num_failed);
  for (const auto& [kind, failure] : report.failures) {
    text += line("  " + kind, failure.count);
    if (!failure.example.empty()) text += "    " + failure.example + "\n";
  }
  text += line("Duration (s)", report.seconds);
  text += line("Input tokens", report.num_prompt_tokens);
  text += line("Output tokens", report.num_output_tokens);
  text += line("Request throughput (1/s)", report.request_throughput());
  if (!report.setup.service_levels.empty()) text += line("Request goodput (1/s)", report.goodput());
  text += line("Output token throughput (1/s)", report.output_throughput());
  text += line("Total token throughput (1/s)", report.total_throughput());
  text += line("Concurrency, mean", report.mean_concurrency);
  text += line("Concurrency, most", report.max_concurrency);
  for (const std::string& metric : metrics) {
    const Distribution& values = report.latencies_ms.at(metric);
    text += fmt::format("{:-^{}}\n", fmt::format(" {} ", title_of(metric)), kWidth);
    text += line(fmt::format("Mean {} (ms)", upper(metric)), values.mean);
    text += line(fmt::format("Median {} (ms)", upper(metric)), values.median);
    for (const auto& [percent, value] : values.percentiles) {
      text += line(fmt::format("{} {} (ms)", upper(percentile_name(percent)), upper(metric)), value);
    }
  }
  text += fmt::format("{:-^{}}\n", " This program ", kWidth);
  text += line("Mean send lag (ms)", report.send_lag_ms.mean);
  text += line("Largest send lag (ms)", report.send_lag_ms.max);
  if (report.num_held > 0) {
    text += line("Held back by the concurrency limit", report.num_held);
    text += line("  for, mean of all (ms)", report.held_ms.mean);
  }
  if (report.num_without_usage > 0) {
    text += line("Answers without usage, their pieces counted", report.num_without_usage);
  }
  return text + fmt::format("{:=^{}}\n", "", kWidth);
}

std::string format_sweep(std::span<const LoadReport> reports) {
  const auto at = [](const LoadReport& report, const char* metric) -> const Distribution& {
    return report.latencies_ms.at(metric);
  };
  const auto last = [](const Distribution& values) {
    return values.percentiles.empty() ? values.max : values.percentiles.back().second;
  };
  const std::string tail = reports.empty() || reports.front().setup.percents.empty()
                               ? "max"
                               : percentile_name(reports.front().setup.percents.back());
  std::string text =
      fmt::format("{:>8} {:>7} {:>9} {:>10} {:>9} {:>11} {:>11} {:>10} {:>10} {:>11}\n", "rate 1/s", "failed",
                  "done 1/s", "tokens/s", "at once", "TTFT ms", tail, "ITL ms", tail, "E2EL ms");
  for (const LoadReport& report : reports) {
    text += fmt::format("{:>8} {:>7} {:>9.2f} {:>10.1f} {:>9.1f} {:>11.2f} {:>11.2f} {:>10.2f} {:>10.2f} {:>11.1f}\n",
                        rate_text(report.setup.request_rate), report.num_failed, report.request_throughput(),
                        report.output_throughput(), report.mean_concurrency, at(report, "ttft").median,
                        last(at(report, "ttft")), at(report, "itl").median, last(at(report, "itl")),
                        at(report, "e2el").median);
  }
  return text;
}

nlohmann::ordered_json report_json(const LoadReport& report) {
  nlohmann::ordered_json json;
  const double rate = report.setup.request_rate;
  json["request_rate"] = std::isinf(rate) ? nlohmann::ordered_json("inf") : nlohmann::ordered_json(rate);
  if (std::isfinite(report.offered_rate)) json["offered_rate"] = report.offered_rate;
  json["burstiness"] = report.setup.burstiness;
  if (report.setup.max_concurrency > 0) json["max_concurrency"] = report.setup.max_concurrency;
  json["duration"] = report.seconds;
  json["completed"] = report.num_completed;
  json["failed"] = report.num_failed;
  json["failures"] = nlohmann::ordered_json::object();
  for (const auto& [kind, failure] : report.failures) {
    json["failures"][kind] = {{"count", failure.count}, {"example", failure.example}};
  }
  json["total_input_tokens"] = report.num_prompt_tokens;
  json["total_output_tokens"] = report.num_output_tokens;
  json["answers_without_usage"] = report.num_without_usage;
  json["request_throughput"] = report.request_throughput();
  if (!report.setup.service_levels.empty()) {
    json["request_goodput"] = report.goodput();
    for (const ServiceLevel& level : report.setup.service_levels) json["goodput_ms"][level.metric] = level.limit_ms;
  }
  json["output_throughput"] = report.output_throughput();
  json["total_token_throughput"] = report.total_throughput();
  json["mean_concurrency"] = report.mean_concurrency;
  json["max_concurrent_requests"] = report.max_concurrency;
  for (const std::string_view metric : kLatencyMetrics) {
    add_distribution(json, metric, report.latencies_ms.at(std::string(metric)));
  }
  add_distribution(json, "send_lag", report.send_lag_ms);
  if (report.num_held > 0) {
    json["held_requests"] = report.num_held;
    add_distribution(json, "held", report.held_ms);
  }
  return json;
}

}  // namespace cohort
