// Quantiles of what benches measure: always a value that was measured.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace cohort {

// The smallest of the values that at least a share `q` of them does not exceed (nearest rank): 0 gives the least, 0.5 a
// median, 1 the largest. 0 of none.
inline double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::ptrdiff_t>(std::ceil(q * static_cast<double>(values.size())));
  const auto place = values.begin() + std::max<std::ptrdiff_t>(rank, 1) - 1;
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

}  // namespace cohort
