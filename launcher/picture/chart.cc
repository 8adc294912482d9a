#include "launcher/picture/chart.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace cohort {
namespace {

constexpr double kNoteHeight = 18;

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

// Right-aligned above the chart.
void draw_legend(Svg& svg, const std::vector<LegendEntry>& legend, double y) {
  constexpr double kCharacterWidth = 7.2;
  double x = kChartRight;
  for (auto entry = legend.rbegin(); entry != legend.rend(); ++entry) {
    svg.label(x, y, "end", entry->name);
    x -= kCharacterWidth * static_cast<double>(entry->name.size()) + 8;
    if (entry->mark == LegendMark::kBox) {
      svg.add(R"(<rect x="{:.1f}" y="{:.1f}" width="12" height="10" fill="{}"/>)", x - 12, y - 9, entry->color);
      x -= 12 + 18;
      continue;
    }
    svg.add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="2"{}/>)", x - 24, y - 4,
            x, y - 4, entry->color, entry->mark == LegendMark::kBrokenLine ? R"( stroke-dasharray="5 4")" : "");
    if (entry->mark == LegendMark::kSquare) {
      svg.add(R"(<rect x="{:.1f}" y="{:.1f}" width="7" height="7" fill="{}"/>)", x - 15.5, y - 7.5, entry->color);
    } else if (entry->mark == LegendMark::kCircle) {
      svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.8" fill="{}"/>)", x - 12, y - 4, entry->color);
    }
    x -= 24 + 18;
  }
}

std::vector<double> value_ticks(std::span<const double> values, bool is_logarithmic) {
  double low = HUGE_VAL;
  double high = 0;
  for (const double value : values) {
    if (value > 0) low = std::min(low, value);
    high = std::max(high, value);
  }
  if (high <= 0) low = high = 1;  // there is nothing to show
  return is_logarithmic ? logarithmic_ticks(low, high) : linear_ticks(high);
}

}  // namespace

void Svg::line(double x1, double y1, double x2, double y2, std::string_view color) {
  add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>)", x1, y1, x2, y2, color);
}

void Svg::label(double x, double y, std::string_view anchor, std::string_view text, std::string_view attributes) {
  add(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}{}>{}</text>)", x, y, anchor, attributes.empty() ? "" : " ",
      attributes, escape(text));
}

double Scale::place(double value) const {
  if (is_logarithmic) return length * std::log(value / low) / std::log(high / low);
  return length * (value - low) / (high - low);
}

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

double open_picture(Svg& svg, std::string_view title, std::span<const std::string> notes, int num_charts) {
  const double head = 62 + kNoteHeight * static_cast<double>(notes.size());
  const double height = head + kChartPitch * num_charts + 6;
  svg.add(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" viewBox="0 0 {0:.0f} {1:.0f}" )"
          R"(font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{2}">)",
          kPictureWidth, height, kInk);
  svg.add(R"(<rect width="100%" height="100%" fill="#ffffff"/>)");
  double y = 28;
  svg.label(kPictureWidth / 2, y, "middle", title, R"(font-size="17" font-weight="bold")");
  for (const std::string& note : notes) {
    svg.label(kPictureWidth / 2, y += kNoteHeight, "middle", note, fmt::format(R"(fill="{}")", kFaintInk));
  }
  return head + 16;
}

Chart draw_frame(Svg& svg, const ChartFrame& frame, std::span<const double> values, double top) {
  const std::vector<double> ticks = value_ticks(values, frame.is_logarithmic);
  const Chart chart{top, top + kChartHeight, {ticks.front(), ticks.back(), frame.is_logarithmic, kChartHeight}};
  svg.label(kChartLeft, top - 12, "start", frame.title, R"(font-weight="bold")");
  draw_legend(svg, frame.legend, top - 12);
  for (const double tick : ticks) {
    const double y = chart.y_of(tick);
    svg.line(kChartLeft, y, kChartRight, y, kGridColor);
    svg.label(kChartLeft - 8, y + 4, "end", fmt::format("{:g}", tick));
  }
  const double middle = (chart.top + chart.bottom) / 2;
  svg.label(20, middle, "middle", frame.unit,
            fmt::format(R"svg(fill="{}" transform="rotate(-90 20 {:.1f})")svg", kFaintInk, middle));
  return chart;
}

void close_frame(Svg& svg, const Chart& chart, std::string_view x_title) {
  svg.label((kChartLeft + kChartRight) / 2, chart.bottom + 38, "middle", x_title,
            fmt::format(R"(fill="{}")", kFaintInk));
  svg.line(kChartLeft, chart.bottom, kChartRight, chart.bottom, kInk);
  svg.line(kChartLeft, chart.top, kChartLeft, chart.bottom, kInk);
}

std::string close_picture(Svg& svg) {
  svg.add("</svg>");
  return svg.take();
}

}  // namespace cohort
