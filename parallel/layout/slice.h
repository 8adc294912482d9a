// Slice: a half-open run of indices, [begin, end), of whatever is shared out among ranks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cohort {

struct Slice {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool contains(int64_t index) const { return index >= begin && index < end; }
  // The same indices in units `factor` times as fine: heads as elements.
  Slice scaled(int64_t factor) const { return {begin * factor, end * factor}; }
  bool operator==(const Slice&) const = default;
};

// Part `index` of `count` of [0, total). Requires that `count` divides `total`.
inline Slice even_slice(int64_t total, int64_t index, int64_t count) {
  return {total / count * index, total / count * (index + 1)};
}

// Likewise for any total: every part has ceil(total / count) indices but the last ones, which have what is left.
inline Slice padded_slice(int64_t total, int64_t index, int64_t count) {
  const int64_t size = (total + count - 1) / count;
  return {std::min(total, size * index), std::min(total, size * (index + 1))};
}

}  // namespace cohort
