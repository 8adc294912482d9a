// What many measured values come to.
#pragma once

#include <span>
#include <utility>
#include <vector>

namespace cohort {

struct Distribution {
  double mean = 0;
  double stddev = 0;  // of the values themselves
  double median = 0;
  double max = 0;
  std::vector<std::pair<double, double>> percentiles;  // (percent, value), as asked for; by the rule of quantile()
};

// Zeros of no values. Requires percents from 0 to 100.
Distribution summarize(const std::vector<double>& values, std::span<const double> percents);

}  // namespace cohort
