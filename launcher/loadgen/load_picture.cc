#include "launcher/loadgen/load_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace cohort {
namespace {

constexpr double kWidth = 860;
constexpr double kLeft = 84;
constexpr double kRight = 24;
constexpr double kChartHeight = 190;
constexpr double kChartPitch = 276;  // from one chart to the next
constexpr std::string_view kInk = "#1f2933";
constexpr std::string_view kFaintInk = "#52606d";
constexpr std::string_view kGrid = "#e1e6eb";
// Told apart by people with any kind of colour vision (Okabe and Ito 2008), and by their marks.
constexpr std::string_view kBlue = "#0072b2";
constexpr std::string_view kOrange = "#d55e00";
constexpr std::string_view kGrey = "#7b8794";

std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '"') {
      result += "&quot;";
    } else if (static_cast<unsigned char>(c) >= ' ') {
      result += c;
    }
  }
  return result;
}

// Where a value lies on an axis of `length` pixels.
struct Scale {
  double low = 0;
  double high = 1;
  bool is_logarithmic = false;
  double length = 1;

  double place(double value) const {
    if (is_logarithmic) return length * std::log(value / low) / std::log(high / low);
    return length * (value - low) / (high - low);
  }
};

struct Series {
  std::string name;
  std::string_view color;
  bool has_square_marks = false;
  bool is_reference = false;  // a broken line without marks
  std::vector<double> values;
};

struct Chart {
  std::string title;
  std::string unit;
  bool is_logarithmic = false;
  std::vector<Series> series;
};

class Svg {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
  }
  void line(double x1, double y1, double x2, double y2, std::string_view color) {
    add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>)", x1, y1, x2, y2, color);
  }
  // anchor: start, middle or end
  void label(double x, double y, std::string_view anchor, std::string_view text, std::string_view attributes = "") {
    add(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}{}>{}</text>)", x, y, anchor, attributes.empty() ? "" : " ",
        attributes, escape(text));
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void draw_series(Svg& svg, const Series& series, std::span<const double> xs, const Scale& x, const Scale& y,
                 double left, double bottom) {
  std::string path;
  for (size_t i = 0; i < xs.size(); ++i) {
    if (y.is_logarithmic && series.values[i] <= 0) continue;  // nothing went well at this rate
    const double px = left + x.place(xs[i]);
    const double py = bottom - y.place(series.values[i]);
    fmt::format_to(std::back_inserter(path), "{}{:.1f},{:.1f}", path.empty() ? "" : " ", px, py);
    if (series.is_reference) continue;
    if (series.has_square_marks) {
      svg.add(R"(<rect x="{:.1f}" y="{:.1f}" width="7" height="7" fill="{}"/>)", px - 3.5, py - 3.5, series.color);
    } else {
      svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.8" fill="{}"/>)", px, py, series.color);
    }
  }
  svg.add(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"{}/>)", path, series.color,
          series.is_reference ? "1.4" : "2", series.is_reference ? R"( stroke-dasharray="5 4")" : "");
}

// Right-aligned above the chart.
void draw_legend(Svg& svg, const std::vector<Series>& all, double right, double y) {
  constexpr double kCharacterWidth = 7.2;
  double x = right;
  for (auto series = all.rbegin(); series != all.rend(); ++series) {
    svg.label(x, y, "end", series->name);
    x -= kCharacterWidth * static_cast<double>(series->name.size()) + 8;
    svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="2"{}/>)", x - 24, y - 4,
            x, y - 4, series->color, series->is_reference ? R"( stroke-dasharray="5 4")" : "");
    if (series->has_square_marks) {
      svg.add(R"(<rect x="{:.1f}" y="{:.1f}" width="7" height="7" fill="{}"/>)", x - 15.5, y - 7.5, series->color);
    } else if (!series->is_reference) {
      svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.8" fill="{}"/>)", x - 12, y - 4, series->color);
    }
    x -= 24 + 18;
  }
}

// Equal factors between rates look like equal steps, where there are many factors.
Scale rate_scale(std::span<const double> rates) {
  constexpr double kManyFold = 6;
  const double length = kWidth - kLeft - kRight;
  if (rates.back() >= kManyFold * rates.front()) {
    return {rates.front() / 1.15, rates.back() * 1.15, true, length};
  }
  return {0, 1.05 * rates.back(), false, length};
}

void draw_rate_axis(Svg& svg, std::span<const double> rates, const Scale& x, double top, double bottom) {
  constexpr double kLabelPitch = 42;
  double free_from = 0;
  for (const double rate : rates) {
    const double px = kLeft + x.place(rate);
    if (px < free_from) continue;
    free_from = px + kLabelPitch;
    svg.line(px, top, px, bottom, kGrid);
    svg.label(px, bottom + 18, "middle", fmt::format("{:g}", rate));
  }
  svg.label(kLeft + x.length / 2, bottom + 38, "middle", "request rate (requests/s)",
            fmt::format(R"(fill="{}")", kFaintInk));
}

Scale value_scale(const Chart& chart, std::vector<double>& ticks) {
  double low = HUGE_VAL;
  double high = 0;
  for (const Series& series : chart.series) {
    for (const double value : series.values) {
      if (value > 0) low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (high <= 0) low = high = 1;  // nothing went well
  ticks = chart.is_logarithmic ? logarithmic_ticks(low, high) : linear_ticks(high);
  return {ticks.front(), ticks.back(), chart.is_logarithmic, kChartHeight};
}

void draw_chart(Svg& svg, const Chart& chart, std::span<const double> rates, double top) {
  const double bottom = top + kChartHeight;
  const double right = kWidth - kRight;
  const Scale x = rate_scale(rates);
  std::vector<double> ticks;
  const Scale y = value_scale(chart, ticks);
  svg.label(kLeft, top - 12, "start", chart.title, R"(font-weight="bold")");
  draw_legend(svg, chart.series, right, top - 12);
  draw_rate_axis(svg, rates, x, top, bottom);
  for (const double tick : ticks) {
    const double py = bottom - y.place(tick);
    svg.line(kLeft, py, right, py, kGrid);
    svg.label(kLeft - 8, py + 4, "end", fmt::format("{:g}", tick));
  }
  svg.label(20, (top + bottom) / 2, "middle", chart.unit,
            fmt::format(R"svg(fill="{}" transform="rotate(-90 20 {:.1f})")svg", kFaintInk, (top + bottom) / 2));
  svg.line(kLeft, bottom, right, bottom, kInk);
  svg.line(kLeft, top, kLeft, bottom, kInk);
  for (const Series& series : chart.series) draw_series(svg, series, rates, x, y, kLeft, bottom);
}

}  // namespace

std::vector<double> linear_ticks(double high) {
  constexpr double kAboutTicks = 5;
  const double wanted = high > 0 ? high / kAboutTicks : 0.2;
  const double power = std::pow(10, std::floor(std::log10(wanted)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= wanted * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks{0};
  while (ticks.back() < high * (1 - 1e-9) || ticks.size() < 2)
    ticks.push_back(step * static_cast<double>(ticks.size()));
  return ticks;
}

std::vector<double> logarithmic_ticks(double low, double high) {
  constexpr size_t kMostTicks = 8;
  std::vector<double> ticks;
  const auto fill = [&](std::initializer_list<double> factors) {
    ticks.clear();
    const int first = static_cast<int>(std::floor(std::log10(low)));
    const int last = static_cast<int>(std::ceil(std::log10(high)));
    for (int power = first; power <= last; ++power) {
      for (const double factor : factors) {
        const double tick = factor * std::pow(10, power);
        // The last one that is not above low is the first.
        if (tick <= low * (1 + 1e-9)) ticks.clear();
        if (ticks.empty() || ticks.back() < high * (1 - 1e-9)) ticks.push_back(tick);
      }
    }
  };
  fill({1, 2, 5});
  if (ticks.size() > kMostTicks) fill({1});
  if (ticks.size() < 2) ticks.push_back(2 * ticks.front());
  return ticks;
}

std::string draw_load(const LoadPicture& picture, std::span<const LoadPoint> points) {
  std::vector<LoadPoint> sorted(points.begin(), points.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const LoadPoint& a, const LoadPoint& b) { return a.request_rate < b.request_rate; });
  const auto values = [&](double LoadPoint::*field) {
    std::vector<double> result;
    for (const LoadPoint& point : sorted) result.push_back(point.*field);
    return result;
  };
  const std::vector<double> rates = values(&LoadPoint::request_rate);
  const Chart charts[] = {
      {"Time to first token",
       "ms, logarithmic",
       true,
       {{"median", kBlue, false, false, values(&LoadPoint::ttft_median_ms)},
        {picture.tail, kOrange, true, false, values(&LoadPoint::ttft_tail_ms)}}},
      {"Inter-token latency",
       "ms, logarithmic",
       true,
       {{"median", kBlue, false, false, values(&LoadPoint::itl_median_ms)},
        {picture.tail, kOrange, true, false, values(&LoadPoint::itl_tail_ms)}}},
      {"Throughput",
       "output tokens/s",
       false,
       {{"asked for", kGrey, false, true, values(&LoadPoint::offered_tokens_per_second)},
        {"served", kBlue, false, false, values(&LoadPoint::output_tokens_per_second)}}},
  };
  std::vector<std::string> notes = picture.notes;
  std::string failed;
  for (const LoadPoint& point : sorted) {
    if (point.num_failed == 0) continue;
    failed += fmt::format("{}{} at {:g}/s", failed.empty() ? "failed requests: " : ", ", point.num_failed,
                          point.request_rate);
  }
  if (!failed.empty()) notes.push_back(failed);
  constexpr double kNoteHeight = 18;
  const double head = 62 + kNoteHeight * static_cast<double>(notes.size());
  const double height = head + kChartPitch * static_cast<double>(std::size(charts)) + 6;
  Svg svg;
  svg.add(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" viewBox="0 0 {0:.0f} {1:.0f}" )"
          R"(font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{2}">)",
          kWidth, height, kInk);
  svg.add(R"(<rect width="100%" height="100%" fill="#ffffff"/>)");
  svg.label(kWidth / 2, 28, "middle", picture.title, R"(font-size="17" font-weight="bold")");
  double y = 28;
  for (const std::string& note : notes) {
    svg.label(kWidth / 2, y += kNoteHeight, "middle", note, fmt::format(R"(fill="{}")", kFaintInk));
  }
  double top = head + 16;
  for (const Chart& chart : charts) {
    draw_chart(svg, chart, rates, top);
    top += kChartPitch;
  }
  svg.add("</svg>");
  return svg.take();
}

}  // namespace cohort
