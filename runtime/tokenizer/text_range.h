// Ranges of a text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace cohort {

// Bytes [begin, end) of a text, not empty.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

// Whether one of `ranges`, which ascend and do not overlap, has a byte of [begin, end).
inline bool touches(std::span<const TextRange> ranges, size_t begin, size_t end) {
  const auto first = std::upper_bound(ranges.begin(), ranges.end(), begin,
                                      [](size_t at, const TextRange& range) { return at < range.end; });
  return first != ranges.end() && first->begin < end;
}

}  // namespace cohort
