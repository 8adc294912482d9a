#include "launcher/cli/scaling_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>

#include "launcher/picture/chart.h"

namespace cohort {
namespace {

constexpr std::string_view kColors[] = {kBlue, kOrange, kGreen, kSky, kPurple};

// Layouts stand side by side, and in each the batches: a bar of each.
struct Slots {
  size_t num_layouts;
  size_t num_batches;

  double width() const { return (kChartRight - kChartLeft) / static_cast<double>(num_layouts); }
  double left(size_t layout) const { return kChartLeft + width() * static_cast<double>(layout); }
  double bar_width() const { return std::min(0.76 * width() / static_cast<double>(num_batches), 52.0); }
  // The left end of a bar.
  double bar(size_t layout, size_t batch) const {
    const double bars = bar_width() * static_cast<double>(num_batches);
    return left(layout) + (width() - bars) / 2 + bar_width() * static_cast<double>(batch);
  }
};

using ValueOf = std::function<double(const ScalingPoint&)>;

void draw_bars(Svg& svg, const Chart& chart, const Slots& slots, const std::vector<ScalingSeries>& all,
               const ValueOf& value_of) {
  constexpr double kGap = 3;             // between bars
  constexpr double kLeastLabelled = 26;  // of a bar's width
  constexpr double kLabelHeight = 20;
  for (size_t batch = 0; batch < all.size(); ++batch) {
    for (size_t layout = 0; layout < slots.num_layouts; ++layout) {
      const double value = value_of(all[batch].points[layout]);
      const double x = slots.bar(layout, batch);
      const double y = chart.y_of(value);
      svg.add(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>)", x + kGap / 2, y,
              slots.bar_width() - kGap, chart.bottom - y, kColors[batch % std::size(kColors)]);
      if (slots.bar_width() < kLeastLabelled) continue;
      // At the foot, where neither the ideal nor a floor is in the way.
      const bool is_inside = chart.bottom - y > kLabelHeight;
      svg.label(x + slots.bar_width() / 2, is_inside ? chart.bottom - 6 : y - 4, "middle", fmt::format("{:.3g}", value),
                is_inside ? R"(font-size="11" fill="#ffffff")" : R"(font-size="11")");
    }
  }
}

void draw_layouts(Svg& svg, const Chart& chart, const Slots& slots, const ScalingSeries& series) {
  for (size_t layout = 0; layout < slots.num_layouts; ++layout) {
    const ScalingPoint& point = series.points[layout];
    svg.label(slots.left(layout) + slots.width() / 2, chart.bottom + 18, "middle",
              fmt::format("{} ({})", point.layout, point.num_ranks));
  }
  close_frame(svg, chart, "layout (ranks)");
}

std::vector<LegendEntry> legend_of(const std::vector<ScalingSeries>& all, const LegendEntry& first) {
  std::vector<LegendEntry> legend{first};
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string batch = std::to_string(all[i].batch);
    legend.push_back(
        {all[i].is_weak ? batch + " a rank" : "batch " + batch, kColors[i % std::size(kColors)], LegendMark::kBox});
  }
  return legend;
}

void draw_speed_ups(Svg& svg, const std::vector<ScalingSeries>& all, const std::string& title, double top) {
  const std::vector<ScalingPoint>& points = all[0].points;
  const auto ideal_of = [&](const ScalingPoint& p) { return static_cast<double>(p.num_ranks) / points[0].num_ranks; };
  std::vector<double> values;
  for (const ScalingSeries& series : all) {
    for (const ScalingPoint& point : series.points) values.insert(values.end(), {point.speed_up, ideal_of(point)});
  }
  const Slots slots{points.size(), all.size()};
  const Chart chart = draw_frame(
      svg, {title, "times " + points[0].layout, false, legend_of(all, {"ideal", kGrey, LegendMark::kBrokenLine})},
      values, top);
  draw_bars(svg, chart, slots, all, [](const ScalingPoint& p) { return p.speed_up; });
  std::string path;
  for (size_t layout = 0; layout < points.size(); ++layout) {
    const double y = chart.y_of(ideal_of(points[layout]));
    fmt::format_to(std::back_inserter(path), "{:.1f},{:.1f} {:.1f},{:.1f} ", slots.left(layout), y,
                   slots.left(layout) + slots.width(), y);
  }
  svg.add(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="1.4" stroke-dasharray="5 4"/>)", path, kGrey);
  draw_layouts(svg, chart, slots, all[0]);
}

void draw_steps(Svg& svg, const std::vector<ScalingSeries>& all, double top) {
  std::vector<double> values;
  for (const ScalingSeries& series : all) {
    for (const ScalingPoint& point : series.points) values.insert(values.end(), {point.step_ms, point.floor_ms});
  }
  const Slots slots{all[0].points.size(), all.size()};
  const Chart chart = draw_frame(
      svg, {"A decode step, and its floor", "ms", false, legend_of(all, {"floor", kInk, LegendMark::kBrokenLine})},
      values, top);
  draw_bars(svg, chart, slots, all, [](const ScalingPoint& p) { return p.step_ms; });
  for (size_t batch = 0; batch < all.size(); ++batch) {
    for (size_t layout = 0; layout < slots.num_layouts; ++layout) {
      const double x = slots.bar(layout, batch);
      const double y = chart.y_of(all[batch].points[layout].floor_ms);
      svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="2" )"
              R"(stroke-dasharray="5 4"/>)",
              x, y, x + slots.bar_width(), y, kInk);
    }
  }
  draw_layouts(svg, chart, slots, all[0]);
}

}  // namespace

std::string draw_scaling(const ScalingReport& report) {
  std::vector<ScalingSeries> strong, weak;
  for (ScalingSeries& series : scaling_series(report)) (series.is_weak ? weak : strong).push_back(std::move(series));
  const auto text = [&](const char* key) { return report.head[key].get<std::string>(); };
  const std::string notes[] = {fmt::format("{} tokens in, {} out; {} weights, {}, {}; {} ranks on {}",
                                           report.input_length, report.output_length, text("weights"), text("dtype"),
                                           text("numerics"), report.head["num_ranks"].get<int>(), text("device")),
                               "measured by cohort " + text("build")};
  Svg svg;
  double top = open_picture(svg, text("model"), notes, weak.empty() ? 2 : 3);
  draw_speed_ups(svg, strong, "Strong scaling: decode tokens/s", top);
  draw_steps(svg, strong, top += kChartPitch);
  if (!weak.empty()) draw_speed_ups(svg, weak, "Weak scaling: decode tokens/s", top += kChartPitch);
  return close_picture(svg);
}

}  // namespace cohort
