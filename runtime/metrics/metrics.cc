#include "runtime/metrics/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "kernels/core/check.h"

namespace cohort {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_label_name(std::string_view name) {
  return !name.empty() && !is_digit(name[0]) && !name.starts_with("__") &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c); });
}

bool is_metric_name(std::string_view name) {
  return !name.empty() && !is_digit(name[0]) &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c) || c == ':'; });
}

// As Go's ParseFloat reads it; whole numbers without a point.
std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 32> text;
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value == std::trunc(value) && std::abs(value) <= kExact) {
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), static_cast<int64_t>(value)).ptr};
  }
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

// "1.0" and not "1", as other clients write bounds: they are compared as text.
std::string bound_text(double bound) {
  std::string text = number(bound);
  if (text.find_first_not_of("-0123456789") == text.npos) text += ".0";
  return text;
}

void append_escaped(std::string& out, std::string_view text, bool is_quoted) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && is_quoted) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

// name{a="x",le="0.5"} value
void append_sample(std::string& out, std::string_view name, const MetricLabels& common, const MetricLabels& labels,
                   std::string_view bound, double value) {
  out += name;
  char before = '{';
  const auto append_label = [&](std::string_view key, std::string_view text) {
    out += before;
    out += key;
    out += "=\"";
    append_escaped(out, text, true);
    out += '"';
    before = ',';
  };
  for (const auto& [key, text] : common) append_label(key, text);
  for (const auto& [key, text] : labels) append_label(key, text);
  if (!bound.empty()) append_label("le", bound);
  if (before == ',') out += '}';
  out += ' ';
  out += number(value);
  out += '\n';
}

std::string_view kind(const Counter&) { return "counter"; }
std::string_view kind(const Gauge&) { return "gauge"; }
std::string_view kind(const Histogram&) { return "histogram"; }

}  // namespace

void Counter::raise_to(double total) {
  double known = value();
  while (total > known && !value_.compare_exchange_weak(known, total, std::memory_order_relaxed)) {
  }
}

Histogram::Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {
  for (size_t i = 0; i < bounds_.size(); ++i) {
    COHORT_CHECK(std::isfinite(bounds_[i]) && (i == 0 || bounds_[i] > bounds_[i - 1]), "bounds of a histogram");
  }
}

void Histogram::observe(double value) {
  if (std::isnan(value)) return;
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

MetricsRegistry::MetricsRegistry(std::vector<std::string> prefixes, MetricLabels common_labels)
    : prefixes_(std::move(prefixes)), common_labels_(std::move(common_labels)) {
  for (const auto& [key, value] : common_labels_) COHORT_CHECK(is_label_name(key), key);
}

MetricsRegistry::~MetricsRegistry() = default;

template <typename T, typename... Arguments>
T& MetricsRegistry::make(std::string_view name, std::string_view help, MetricLabels&& labels,
                         Arguments&&... arguments) {
  for (const std::string& prefix : prefixes_) COHORT_CHECK(is_metric_name(prefix + std::string(name)), name);
  for (const auto& [key, value] : labels) COHORT_CHECK(is_label_name(key) && key != "le", key);
  auto made = std::make_unique<T>(std::forward<Arguments>(arguments)...);
  const std::lock_guard lock(mutex_);
  auto family =
      std::find_if(families_.begin(), families_.end(), [&](const Family& known) { return known.name == name; });
  if (family == families_.end()) {
    family = families_.insert(families_.end(), {.name = std::string(name), .help = std::string(help), .series = {}});
  }
  for (const Series& series : family->series) {
    const auto* known = std::get_if<std::unique_ptr<T>>(&series.metric);
    COHORT_CHECK(known, std::string(name) + " is a metric of another kind");
    if constexpr (std::is_same_v<T, Histogram>) {
      COHORT_CHECK((*known)->bounds() == made->bounds(), std::string(name) + " has other bounds");
    }
    if (series.labels == labels) return **known;
  }
  family->series.push_back({.labels = std::move(labels), .metric = std::move(made)});
  return *std::get<std::unique_ptr<T>>(family->series.back().metric);
}

Counter& MetricsRegistry::counter(std::string_view name, std::string_view help, MetricLabels labels) {
  return make<Counter>(name, help, std::move(labels));
}

Gauge& MetricsRegistry::gauge(std::string_view name, std::string_view help, MetricLabels labels) {
  return make<Gauge>(name, help, std::move(labels));
}

Histogram& MetricsRegistry::histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                                      MetricLabels labels) {
  return make<Histogram>(name, help, std::move(labels), std::move(bounds));
}

void MetricsRegistry::write(const Family& family, const std::string& name, std::string& out) const {
  out += "# HELP " + name + ' ';
  append_escaped(out, family.help, false);
  out += "\n# TYPE " + name + ' ';
  out += std::visit([](const auto& metric) { return kind(*metric); }, family.series.front().metric);
  out += '\n';
  for (const Series& series : family.series) {
    const auto append = [&](std::string_view suffix, std::string_view bound, double value) {
      append_sample(out, name + std::string(suffix), common_labels_, series.labels, bound, value);
    };
    if (const auto* counter = std::get_if<std::unique_ptr<Counter>>(&series.metric)) {
      append("", "", (*counter)->value());
    } else if (const auto* gauge = std::get_if<std::unique_ptr<Gauge>>(&series.metric)) {
      append("", "", (*gauge)->value());
    } else {
      const Histogram& histogram = *std::get<std::unique_ptr<Histogram>>(series.metric);
      uint64_t count = 0;
      for (size_t i = 0; i <= histogram.bounds().size(); ++i) {
        count += histogram.bucket(i);
        const bool is_last = i == histogram.bounds().size();
        append("_bucket", is_last ? "+Inf" : bound_text(histogram.bounds()[i]), static_cast<double>(count));
      }
      append("_sum", "", histogram.sum());
      append("_count", "", static_cast<double>(count));
    }
  }
}

std::string MetricsRegistry::text() const {
  std::string out;
  const std::lock_guard lock(mutex_);
  for (const std::string& prefix : prefixes_) {
    for (const Family& family : families_) write(family, prefix + family.name, out);
  }
  return out;
}

}  // namespace cohort
