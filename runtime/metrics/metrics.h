// Metrics: counters, gauges and histograms with labels, written in Prometheus' text format, version 0.0.4.
//
// Metrics are made at start (or when a label value is first seen) and used for the registry's life; making one again
// with the same name and labels returns the same. Any thread: making and writing take a lock; add(), set(), observe()
// and value() take none.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace cohort {

// Name and value; the value may be any text.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Only rises.
class Counter {
 public:
  // Requires amount >= 0.
  void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  // For what is counted elsewhere; a total below the value is not taken.
  void raise_to(double total);
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

class Histogram {
 public:
  // `bounds`: upper ends of the buckets, inclusive, finite and rising; beyond the last is one more.
  explicit Histogram(std::vector<double> bounds);

  void observe(double value);  // NaN is not counted

  const std::vector<double>& bounds() const { return bounds_; }
  uint64_t bucket(size_t i) const { return counts_[i].load(std::memory_order_relaxed); }  // i <= bounds().size()
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  // [bounds + 1]
  std::atomic<double> sum_ = 0;
};

class MetricsRegistry {
 public:
  // Each metric is written once under each prefix ("cohort:"), with these labels before its own.
  explicit MetricsRegistry(std::vector<std::string> prefixes, MetricLabels common_labels = {});
  ~MetricsRegistry();

  // Throw CheckError if a name is not one of Prometheus' or is of another kind already, or if histograms of one name
  // have different bounds.
  Counter& counter(std::string_view name, std::string_view help, MetricLabels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, MetricLabels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                       MetricLabels labels = {});

  // What a scrape reads, in the order of making. Of a histogram the count is that of its buckets.
  std::string text() const;
  // Its Content-Type.
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  using Metric = std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;
  struct Series {
    MetricLabels labels;
    Metric metric;
  };
  struct Family {
    std::string name;
    std::string help;
    std::vector<Series> series;
  };

  template <typename T, typename... Arguments>
  T& make(std::string_view name, std::string_view help, MetricLabels&& labels, Arguments&&... arguments);
  void write(const Family& family, const std::string& name, std::string& out) const;

  const std::vector<std::string> prefixes_;
  const MetricLabels common_labels_;
  mutable std::mutex mutex_;
  std::vector<Family> families_;
};

}  // namespace cohort
