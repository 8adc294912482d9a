#include "launcher/loadgen/statistics.h"

#include <cmath>
#include <numeric>

#include "launcher/cli/quantile.h"

namespace cohort {

Distribution summarize(const std::vector<double>& values, std::span<const double> percents) {
  Distribution result;
  for (const double percent : percents) result.percentiles.emplace_back(percent, quantile(values, percent / 100));
  if (values.empty()) return result;
  const auto count = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.stddev = std::sqrt(squares / count);
  result.median = quantile(values, 0.5);
  result.max = quantile(values, 1);
  return result;
}

}  // namespace cohort
