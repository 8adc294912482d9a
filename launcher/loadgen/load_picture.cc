#include "launcher/loadgen/load_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "launcher/picture/chart.h"

namespace cohort {
namespace {

struct Series {
  std::string name;
  std::string_view color;
  LegendMark mark;  // a broken line has none along it
  std::vector<double> values;
};

struct LoadChart {
  std::string title;
  std::string unit;
  bool is_logarithmic = false;
  std::vector<Series> series;
};

void draw_series(Svg& svg, const Series& series, std::span<const double> rates, const Scale& x, const Chart& chart) {
  const bool is_broken = series.mark == LegendMark::kBrokenLine;
  std::string path;
  for (size_t i = 0; i < rates.size(); ++i) {
    if (chart.y.is_logarithmic && series.values[i] <= 0) continue;  // nothing went well at this rate
    const double px = kChartLeft + x.place(rates[i]);
    const double py = chart.y_of(series.values[i]);
    fmt::format_to(std::back_inserter(path), "{}{:.1f},{:.1f}", path.empty() ? "" : " ", px, py);
    if (is_broken) continue;
    if (series.mark == LegendMark::kSquare) {
      svg.add(R"(<rect x="{:.1f}" y="{:.1f}" width="7" height="7" fill="{}"/>)", px - 3.5, py - 3.5, series.color);
    } else {
      svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.8" fill="{}"/>)", px, py, series.color);
    }
  }
  svg.add(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"{}/>)", path, series.color,
          is_broken ? "1.4" : "2", is_broken ? R"( stroke-dasharray="5 4")" : "");
}

// Equal factors between rates look like equal steps, where there are many factors.
Scale rate_scale(std::span<const double> rates) {
  constexpr double kManyFold = 6;
  const double length = kChartRight - kChartLeft;
  if (rates.back() >= kManyFold * rates.front()) {
    return {rates.front() / 1.15, rates.back() * 1.15, true, length};
  }
  return {0, 1.05 * rates.back(), false, length};
}

void draw_rates(Svg& svg, std::span<const double> rates, const Scale& x, const Chart& chart) {
  constexpr double kLabelPitch = 42;
  double free_from = 0;
  for (const double rate : rates) {
    const double px = kChartLeft + x.place(rate);
    if (px < free_from) continue;
    free_from = px + kLabelPitch;
    svg.line(px, chart.top, px, chart.bottom, kGridColor);
    svg.label(px, chart.bottom + 18, "middle", fmt::format("{:g}", rate));
  }
}

void draw_chart(Svg& svg, const LoadChart& load, std::span<const double> rates, double top) {
  ChartFrame frame{load.title, load.unit, load.is_logarithmic, {}};
  std::vector<double> values;
  for (const Series& series : load.series) {
    frame.legend.push_back({series.name, series.color, series.mark});
    values.insert(values.end(), series.values.begin(), series.values.end());
  }
  const Chart chart = draw_frame(svg, frame, values, top);
  const Scale x = rate_scale(rates);
  draw_rates(svg, rates, x, chart);
  for (const Series& series : load.series) draw_series(svg, series, rates, x, chart);
  close_frame(svg, chart, "request rate (requests/s)");
}

}  // namespace

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
  const LoadChart charts[] = {
      {"Time to first token",
       "ms, logarithmic",
       true,
       {{"median", kBlue, LegendMark::kCircle, values(&LoadPoint::ttft_median_ms)},
        {picture.tail, kOrange, LegendMark::kSquare, values(&LoadPoint::ttft_tail_ms)}}},
      {"Inter-token latency",
       "ms, logarithmic",
       true,
       {{"median", kBlue, LegendMark::kCircle, values(&LoadPoint::itl_median_ms)},
        {picture.tail, kOrange, LegendMark::kSquare, values(&LoadPoint::itl_tail_ms)}}},
      {"Throughput",
       "output tokens/s",
       false,
       {{"asked for", kGrey, LegendMark::kBrokenLine, values(&LoadPoint::offered_tokens_per_second)},
        {"served", kBlue, LegendMark::kCircle, values(&LoadPoint::output_tokens_per_second)}}},
  };
  std::vector<std::string> notes = picture.notes;
  std::string failed;
  for (const LoadPoint& point : sorted) {
    if (point.num_failed == 0) continue;
    failed += fmt::format("{}{} at {:g}/s", failed.empty() ? "failed requests: " : ", ", point.num_failed,
                          point.request_rate);
  }
  if (!failed.empty()) notes.push_back(failed);
  Svg svg;
  double top = open_picture(svg, picture.title, notes, static_cast<int>(std::size(charts)));
  for (const LoadChart& chart : charts) {
    draw_chart(svg, chart, rates, top);
    top += kChartPitch;
  }
  return close_picture(svg);
}

}  // namespace cohort
