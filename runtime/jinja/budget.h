// What one render of a template may use, so that a template that loops or floods ends with an error.
//
// Everything is counted in steps: a step is about the work of evaluating one small expression. Copying bytes and making
// lists costs steps too, which bounds memory along with time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/status.h"

namespace cohort::jinja {

struct Limits {
  int64_t max_steps = 10'000'000;    // about a second
  size_t max_text_bytes = 32 << 20;  // of any one text, the output among them
  int max_depth = 600;               // of expressions, statements and macros within each other
};

// Lists within lists; deeper ones cannot be made. Bounds recursion over values.
inline constexpr int kMaxValueDepth = 128;
inline constexpr int64_t kMaxRange = 100'000;  // the longest range(), as in Jinja's sandbox

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  Status charge(int64_t num_steps) {
    num_steps_ += num_steps;
    if (num_steps_ <= limits_.max_steps) return ok_status();
    return resource_exhausted("the template takes more than " + std::to_string(limits_.max_steps) + " steps");
  }

  // Whether a text may have `num_bytes`.
  Status check_size(size_t num_bytes) const {
    if (num_bytes <= limits_.max_text_bytes) return ok_status();
    return resource_exhausted("the template makes a text of more than " + std::to_string(limits_.max_text_bytes) +
                              " bytes");
  }

  // For making or reading a text of `num_bytes`.
  Status charge_text(size_t num_bytes) {
    COHORT_RETURN_IF_ERROR(check_size(num_bytes));
    return charge(1 + static_cast<int64_t>(num_bytes / 16));
  }

  // For making a list or dictionary of `num_items`.
  Status charge_items(size_t num_items) { return charge(1 + 2 * static_cast<int64_t>(num_items)); }

  const Limits& limits() const { return limits_; }

 private:
  Limits limits_;
  int64_t num_steps_ = 0;
};

}  // namespace cohort::jinja
