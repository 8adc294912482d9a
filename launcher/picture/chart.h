// Charts one below the other in an SVG, without scripts: what pictures of measurements share. A picture is opened,
// frames are drawn into it, each with what it shows, and it is closed.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort {

// Pixels of a picture, and of the area of a chart that its axes enclose.
inline constexpr double kPictureWidth = 860;
inline constexpr double kChartLeft = 84;
inline constexpr double kChartRight = kPictureWidth - 24;
inline constexpr double kChartHeight = 190;

inline constexpr std::string_view kInk = "#1f2933";
inline constexpr std::string_view kFaintInk = "#52606d";
inline constexpr std::string_view kGridColor = "#e1e6eb";
inline constexpr std::string_view kGrey = "#7b8794";
// Told apart by people with any kind of colour vision (Okabe and Ito 2008).
inline constexpr std::string_view kBlue = "#0072b2";
inline constexpr std::string_view kOrange = "#d55e00";
inline constexpr std::string_view kGreen = "#009e73";
inline constexpr std::string_view kSky = "#56b4e9";
inline constexpr std::string_view kPurple = "#cc79a7";

class Svg {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
  }
  void line(double x1, double y1, double x2, double y2, std::string_view color);
  // anchor: start, middle or end. What of `text` would be markup is escaped.
  void label(double x, double y, std::string_view anchor, std::string_view text, std::string_view attributes = "");
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

// Where a value lies on an axis of `length` pixels.
struct Scale {
  double low = 0;
  double high = 1;
  bool is_logarithmic = false;
  double length = 1;

  double place(double value) const;
};

// The numbers that a chart's axis names, from at most `low` to at least `high`. Linear: equal steps of 1, 2 or 5 times
// a power of ten, about five, from 0. Logarithmic: 1, 2 and 5 times powers of ten, or only the powers where that would
// be more than eight. Require 0 <= low <= high; above 0 of a logarithmic one.
std::vector<double> linear_ticks(double high);
std::vector<double> logarithmic_ticks(double low, double high);

// What the legend shows beside a name.
enum class LegendMark { kCircle, kSquare, kBrokenLine, kBox };
struct LegendEntry {
  std::string name;
  std::string_view color;
  LegendMark mark;
};

struct ChartFrame {
  std::string title;
  std::string unit;  // beside the axis of values
  bool is_logarithmic = false;
  std::vector<LegendEntry> legend;
};

// A chart whose title, legend and axis of values are drawn.
struct Chart {
  double top = 0;
  double bottom = 0;
  Scale y;

  double y_of(double value) const { return bottom - y.place(value); }
};

// With a head of `title` and `notes`, and room for `num_charts`. Returns where the first one's top is.
double open_picture(Svg& svg, std::string_view title, std::span<const std::string> notes, int num_charts);
// From the top of a chart to that of the next.
inline constexpr double kChartPitch = 276;
// `values`: all that the chart will show. Draws the frame but for the axis at the bottom.
Chart draw_frame(Svg& svg, const ChartFrame& frame, std::span<const double> values, double top);
// The axes' own lines, over what was drawn inside, and what stands below.
void close_frame(Svg& svg, const Chart& chart, std::string_view x_title);
std::string close_picture(Svg& svg);

}  // namespace cohort
