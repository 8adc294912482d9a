// Metrics, and the text they are scraped as, read back by the rules of Prometheus' format 0.0.4.
#include "runtime/metrics/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/check.h"
#include "runtime/metrics/generation_metrics.h"

namespace cohort {
namespace {

struct Sample {
  std::string name;
  MetricLabels labels;
  double value = 0;
};

struct Scrape {
  std::map<std::string, std::string> helps;
  std::map<std::string, std::string> types;
  std::vector<Sample> samples;
  std::string error;  // why the text is not of the format

  // Of the first sample of that name, and of that value of a label if one is given.
  double value(const std::string& name, const std::string& label_value = "") const {
    for (const Sample& sample : samples) {
      bool fits = label_value.empty();
      for (const auto& [key, text] : sample.labels) fits |= text == label_value;
      if (sample.name == name && fits) return sample.value;
    }
    return std::numeric_limits<double>::quiet_NaN();
  }
};

constexpr const char* kNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";

bool parse_value(const std::string& text, double& value) {
  if (text == "NaN" || text == "+Inf" || text == "-Inf") {
    value = text == "NaN" ? NAN : text == "+Inf" ? INFINITY : -INFINITY;
    return true;
  }
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && text.find_first_not_of("+-.e0123456789") == text.npos;
}

// "name{label="value",...} number"
bool parse_sample(const std::string& line, Sample& sample) {
  size_t at = line.find_first_not_of(kNameCharacters);
  if (at == 0 || at == line.npos) return false;
  sample.name = line.substr(0, at);
  if (line[at] == '{') {
    do {
      const size_t key_begin = ++at;
      at = line.find('=', at);
      if (at == line.npos || line[++at] != '"') return false;
      const std::string key = line.substr(key_begin, at - 1 - key_begin);
      std::string text;
      for (++at; at < line.size() && line[at] != '"'; ++at) {
        if (line[at] != '\\') {
          text += line[at];
          continue;
        }
        const char c = line[++at];
        if (c != 'n' && c != '"' && c != '\\') return false;
        text += c == 'n' ? '\n' : c;
      }
      sample.labels.emplace_back(key, text);
      ++at;
    } while (line[at] == ',');
    if (line[at++] != '}') return false;
  }
  return line[at] == ' ' && parse_value(line.substr(at + 1), sample.value);
}

// The family that a sample belongs to; empty if none was announced.
std::string family_of(const Scrape& scrape, const std::string& name) {
  if (scrape.types.contains(name)) return name;
  for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
    if (!name.ends_with(suffix)) continue;
    const std::string base = name.substr(0, name.size() - suffix.size());
    if (const auto found = scrape.types.find(base); found != scrape.types.end() && found->second == "histogram") {
      return base;
    }
  }
  return {};
}

Scrape scrape(const std::string& text) {
  Scrape scrape;
  std::istringstream lines(text);
  std::string last_family;
  std::set<std::string> ended;
  const auto fail = [&](const std::string& line) {
    scrape.error = line;
    return scrape;
  };
  if (!text.empty() && text.back() != '\n') return fail("the last line has no end");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      const size_t space = line.find(' ', 7);
      if (!scrape.helps.emplace(line.substr(7, space - 7), line.substr(space + 1)).second) return fail(line);
    } else if (line.starts_with("# TYPE ")) {
      const size_t space = line.find(' ', 7);
      if (!scrape.types.emplace(line.substr(7, space - 7), line.substr(space + 1)).second) return fail(line);
    } else {
      Sample sample;
      if (!parse_sample(line, sample)) return fail(line);
      const std::string family = family_of(scrape, sample.name);
      if (family.empty() || ended.contains(family)) return fail(line);  // one group, behind its TYPE
      if (family != last_family) ended.insert(last_family);
      last_family = family;
      scrape.samples.push_back(std::move(sample));
    }
  }
  return scrape;
}

TEST(Metrics, AreWrittenAsPrometheusReadsThem) {
  MetricsRegistry registry({"cohort:"}, {{"model_name", "a \"model\"\\\n"}});
  registry.counter("requests_total", "All \\ of them.\nReally.").add(3);
  registry.gauge("load", "Now.").set(0.25);
  Histogram& latency = registry.histogram("latency_seconds", "How long.", {0.5, 1, 2.5});
  for (const double value : {0.1, 0.5, 0.7, 2.0, 100.0}) latency.observe(value);

  const std::string label = R"(model_name="a \"model\"\\\n")";
  EXPECT_EQ(registry.text(),
            "# HELP cohort:requests_total All \\\\ of them.\\nReally.\n"
            "# TYPE cohort:requests_total counter\n"
            "cohort:requests_total{" +
                label +
                "} 3\n"
                "# HELP cohort:load Now.\n"
                "# TYPE cohort:load gauge\n"
                "cohort:load{" +
                label +
                "} 0.25\n"
                "# HELP cohort:latency_seconds How long.\n"
                "# TYPE cohort:latency_seconds histogram\n"
                "cohort:latency_seconds_bucket{" +
                label +
                ",le=\"0.5\"} 2\n"
                "cohort:latency_seconds_bucket{" +
                label +
                ",le=\"1.0\"} 3\n"
                "cohort:latency_seconds_bucket{" +
                label +
                ",le=\"2.5\"} 4\n"
                "cohort:latency_seconds_bucket{" +
                label +
                ",le=\"+Inf\"} 5\n"
                "cohort:latency_seconds_sum{" +
                label +
                "} 103.3\n"
                "cohort:latency_seconds_count{" +
                label + "} 5\n");
  const Scrape read = scrape(registry.text());
  EXPECT_EQ(read.error, "");
  for (const Sample& sample : read.samples) EXPECT_EQ(sample.labels[0].second, "a \"model\"\\\n");
}

TEST(Metrics, AreOneByNameAndLabels) {
  MetricsRegistry registry({""});
  registry.counter("done_total", "Done.", {{"why", "stop"}}).add(2);
  registry.counter("done_total", "Done.", {{"why", "length"}}).add();
  registry.counter("done_total", "Done.", {{"why", "stop"}}).add(0.5);
  const Scrape read = scrape(registry.text());
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.samples.size(), 2u);
  EXPECT_EQ(read.value("done_total", "stop"), 2.5);
  EXPECT_EQ(read.value("done_total", "length"), 1);
}

TEST(Metrics, StandUnderEachPrefix) {
  MetricsRegistry registry({"cohort:", "vllm:"}, {{"engine", "0"}});
  registry.gauge("num_requests_running", "Running.").set(7);
  registry.counter("tokens_total", "Tokens.").add(9);
  const Scrape read = scrape(registry.text());
  EXPECT_EQ(read.error, "");
  for (const std::string prefix : {"cohort:", "vllm:"}) {
    EXPECT_EQ(read.types.at(prefix + "num_requests_running"), "gauge");
    EXPECT_EQ(read.value(prefix + "num_requests_running"), 7);
    EXPECT_EQ(read.value(prefix + "tokens_total"), 9);
  }
}

TEST(Metrics, WriteNumbersOfAnySize) {
  MetricsRegistry registry({""});
  const std::vector<double> values = {0,   -1,      1e15, 12345678901234, 1e300,    5e-324,
                                      0.1, 1.0 / 3, NAN,  INFINITY,       -INFINITY};
  for (size_t i = 0; i < values.size(); ++i) registry.gauge("g", "", {{"i", std::to_string(i)}}).set(values[i]);
  const Scrape read = scrape(registry.text());
  EXPECT_EQ(read.error, "");
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = read.value("g", std::to_string(i));
    EXPECT_TRUE(value == values[i] || (std::isnan(value) && std::isnan(values[i]))) << values[i];
  }
}

TEST(Metrics, CountersOnlyRise) {
  Counter counter;
  counter.raise_to(5);
  counter.raise_to(3);
  EXPECT_EQ(counter.value(), 5);
}

TEST(Metrics, HistogramsDoNotCountNan) {
  Histogram histogram({1});
  histogram.observe(NAN);
  histogram.observe(1);
  EXPECT_EQ(histogram.bucket(0), 1u);
  EXPECT_EQ(histogram.bucket(1), 0u);
  EXPECT_EQ(histogram.sum(), 1);
}

TEST(Metrics, RefuseWhatPrometheusWould) {
  MetricsRegistry registry({"cohort:"});
  registry.counter("a_total", "");
  EXPECT_THROW(registry.gauge("a_total", ""), CheckError);
  EXPECT_THROW(registry.counter("a-b", ""), CheckError);
  EXPECT_THROW(registry.counter("b", "", {{"__x", ""}}), CheckError);
  EXPECT_THROW(registry.counter("c", "", {{"1x", ""}}), CheckError);
  EXPECT_THROW(registry.histogram("d", "", {1}, {{"le", "1"}}), CheckError);
  EXPECT_THROW(registry.histogram("e", "", {2, 1}), CheckError);
  registry.histogram("f", "", {1, 2});
  EXPECT_THROW(registry.histogram("f", "", {1, 3}, {{"x", "y"}}), CheckError);
  EXPECT_EQ(scrape(registry.text()).error, "");
}

TEST(Metrics, AreCountedFromManyThreads) {
  MetricsRegistry registry({""});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Histogram& histogram = registry.histogram("h", "", {0.5});
      for (int i = 0; i < 10'000; ++i) {
        registry.counter("c", "").add();
        histogram.observe(i % 2);
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(scrape(registry.text()).error, "");
  for (std::thread& thread : threads) thread.join();
  const Scrape read = scrape(registry.text());
  EXPECT_EQ(read.value("c"), 40'000);
  EXPECT_EQ(read.value("h_bucket", "0.5"), 20'000);
  EXPECT_EQ(read.value("h_count"), 40'000);
  EXPECT_EQ(read.value("h_sum"), 20'000);
}

TEST(GenerationMetrics, HaveTheNamesOfDashboards) {
  MetricsRegistry registry({"cohort:", "vllm:"}, {{"model_name", "m"}, {"engine", "0"}});
  GenerationMetrics metrics(registry);
  metrics.time_to_first_token.observe(0.02);
  metrics.request_success("stop").add();
  const Scrape read = scrape(registry.text());
  EXPECT_EQ(read.error, "");
  const std::map<std::string, std::string> expected = {{"num_requests_running", "gauge"},
                                                       {"num_requests_waiting", "gauge"},
                                                       {"kv_cache_usage_perc", "gauge"},
                                                       {"prompt_tokens_total", "counter"},
                                                       {"generation_tokens_total", "counter"},
                                                       {"prefix_cache_queries_total", "counter"},
                                                       {"prefix_cache_hits_total", "counter"},
                                                       {"num_preemptions_total", "counter"},
                                                       {"request_success_total", "counter"},
                                                       {"time_to_first_token_seconds", "histogram"},
                                                       {"inter_token_latency_seconds", "histogram"},
                                                       {"e2e_request_latency_seconds", "histogram"},
                                                       {"request_queue_time_seconds", "histogram"},
                                                       {"request_prefill_time_seconds", "histogram"},
                                                       {"request_decode_time_seconds", "histogram"}};
  for (const std::string prefix : {"cohort:", "vllm:"}) {
    for (const auto& [name, type] : expected) EXPECT_EQ(read.types.at(prefix + name), type) << name;
    EXPECT_EQ(read.value(prefix + "request_success_total", "stop"), 1);
    EXPECT_EQ(read.value(prefix + "time_to_first_token_seconds_count"), 1);
  }
}

}  // namespace
}  // namespace cohort
