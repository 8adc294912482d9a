// A picture of latency against load: an SVG of three charts, without scripts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cohort {

// One load of a sweep.
struct LoadPoint {
  double request_rate = 0;  // 1/s, finite
  double ttft_median_ms = 0;
  double ttft_tail_ms = 0;
  double itl_median_ms = 0;
  double itl_tail_ms = 0;
  double output_tokens_per_second = 0;
  double offered_tokens_per_second = 0;  // what would be put out if nothing had to wait
  int64_t num_failed = 0;
};

struct LoadPicture {
  std::string title;
  std::vector<std::string> notes;  // lines below the title
  std::string tail;                // what the tails are: "p99"
};

// Requires at least one point; they are drawn in the order of their rates.
std::string draw_load(const LoadPicture& picture, std::span<const LoadPoint> points);

}  // namespace cohort
