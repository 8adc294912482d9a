#include "kernels/core/shape.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace cohort {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  COHORT_CHECK(dims.size() <= kMaxRank, "rank " + std::to_string(dims.size()));
  int64_t product = 1;  // a dimension of 0 left out: strides are products of the others
  for (int i = 0; i < rank_; ++i) {
    COHORT_CHECK(dims[i] >= 0, "dimension " + std::to_string(dims[i]));
    dims_[i] = dims[i];
    COHORT_CHECK(
        !__builtin_mul_overflow(product, std::max<int64_t>(dims[i], 1), &product) && product < (int64_t{1} << 62),
        "too many elements");
  }
}

int64_t Shape::num_elements() const {
  int64_t product = 1;
  for (int64_t dim : dims()) product *= dim;
  return product;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i == 0 ? "" : ", ") + std::to_string(dims_[i]);
  return text + "]";
}

}  // namespace cohort
