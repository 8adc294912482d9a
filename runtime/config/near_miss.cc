#include "runtime/config/near_miss.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace cohort {

std::optional<size_t> edit_distance(std::string_view a, std::string_view b, size_t max_distance) {
  // A file may hold a name of any length: no more work than for names that could be near.
  if (std::max(a.size(), b.size()) - std::min(a.size(), b.size()) > max_distance) return {};
  std::vector<size_t> row(b.size() + 1);  // distances of the prefixes of b from the prefix of a so far
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  if (row.back() > max_distance) return {};
  return row.back();
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names, size_t max_distance) {
  std::string_view nearest;
  for (const std::string_view candidate : names) {
    const std::optional<size_t> distance = edit_distance(name, candidate, max_distance);
    if (!distance) continue;
    nearest = candidate;
    if (*distance == 0) break;
    max_distance = *distance - 1;
  }
  return nearest;
}

}  // namespace cohort
