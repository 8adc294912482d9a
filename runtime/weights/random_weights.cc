#include "runtime/weights/random_weights.h"

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

}  // namespace

RandomDistribution random_distribution(std::string_view name, const Shape& shape) {
  if (shape.rank() <= 1) {
    const bool is_bias = name.ends_with("bias") || name.ends_with("beta");
    return {is_bias ? 0.0f : 1.0f, 0.0f};
  }
  if (contains_any(name, {"embed", "wte", "wpe", "shared", "relative_attention_bias"})) return {0.0f, 0.02f};
  const auto fan_in = static_cast<float>(std::max<int64_t>(1, shape[shape.rank() - 1]));
  return {0.0f, 1 / std::sqrt(fan_in)};
}

}  // namespace cohort
