#include "kernels/sampling/selection.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "kernels/core/vector_math.h"

namespace cohort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What is put behind the last value to fill a vector: never among the largest.
Float8 load_values(std::span<const float> values, int64_t i) {
  const auto n = static_cast<int64_t>(values.size());
  if (i + kLanes <= n) return load8(values.data() + i);
  Float8 x = splat8(-kInfinity);
  for (int64_t j = i; j < n; ++j) x[j - i] = values[static_cast<size_t>(j)];
  return x;
}

void keep_largest(std::vector<uint64_t>& keys, int64_t k) {
  const auto kth = keys.begin() + (k - 1);
  std::nth_element(keys.begin(), kth, keys.end(), std::greater<>());
  keys.resize(static_cast<size_t>(k));
}

}  // namespace

uint64_t selection_key(float value, int32_t index) {
  // Adding 0 makes -0 and 0 the equals that they are. Negative floats order backwards as integers.
  const auto u = std::bit_cast<uint32_t>(value + 0.0f);
  const uint32_t ordered = (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
  return (uint64_t{ordered} << 32) | ~static_cast<uint32_t>(index);
}

float key_value(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  return std::bit_cast<float>((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

int32_t key_index(uint64_t key) { return static_cast<int32_t>(~static_cast<uint32_t>(key)); }

LargestValue find_largest(std::span<const float> values) {
  const auto n = static_cast<int64_t>(values.size());
  Float8 lane_max = splat8(-kInfinity);
  Int8 is_nan = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Float8 x = load_values(values, i);
    is_nan |= x != x;  // NOLINT(misc-redundant-expression): NaN alone differs from itself
    lane_max = max8(x, lane_max);
  }
  const float max = max_of8(lane_max);
  if (any8(is_nan) || max == kInfinity || max == -kInfinity) return {};
  const auto at = std::find(values.begin(), values.end(), max);
  return {static_cast<int32_t>(at - values.begin()), max};
}

void select_largest(std::span<const float> values, int64_t k, std::vector<uint64_t>& keys) {
  // Whatever is not above the k-th largest so far is passed over eight at a time; of equals the
  // earlier stays.
  constexpr int64_t kSlack = 1024;
  const auto n = static_cast<int64_t>(values.size());
  const int64_t capacity = std::min(n, k + std::max(k, kSlack));
  keys.clear();
  keys.reserve(static_cast<size_t>(capacity + kLanes));
  float threshold = -kInfinity;
  for (int64_t i = 0; i < n; i += kLanes) {
    const Float8 x = load_values(values, i);
    if (!any8(x > threshold)) continue;
    for (int64_t j = 0; j < kLanes; ++j) {
      if (x[j] > threshold) keys.push_back(selection_key(x[j], static_cast<int32_t>(i + j)));
    }
    if (static_cast<int64_t>(keys.size()) > capacity) {
      keep_largest(keys, k);
      threshold = key_value(keys.back());
    }
  }
  if (static_cast<int64_t>(keys.size()) > k) keep_largest(keys, k);
}

}  // namespace cohort
