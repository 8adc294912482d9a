// Finding the largest of many floats without sorting them. An element is spoken of by its key: one
// integer whose order is the order of the values, the lower index first among equals.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cohort {

// Larger for a larger value, and among equal values for a lower index. The value is not NaN.
uint64_t selection_key(float value, int32_t index);
float key_value(uint64_t key);
int32_t key_index(uint64_t key);

struct LargestValue {
  int32_t index = -1;  // the lowest of equals; -1 if there is a NaN or the largest is not finite
  float value = 0;
};
LargestValue find_largest(std::span<const float> values);

// Replaces `keys` by those of the `k` largest values above -infinity, in no particular order; fewer
// if there are not so many.
void select_largest(std::span<const float> values, int64_t k, std::vector<uint64_t>& keys);

}  // namespace cohort
