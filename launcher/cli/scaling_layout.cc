#include "launcher/cli/scaling_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "launcher/cli/command.h"

namespace cohort {
namespace {

// Takes `prefix` and the number behind it off the begin of `rest`. Nothing if that is not what stands there.
std::optional<int> take_size(std::string_view prefix, std::string_view& rest) {
  if (!rest.starts_with(prefix)) return {};
  const std::string_view digits = rest.substr(prefix.size());
  int size = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
  if (error != std::errc() || size < 1 || digits[0] == '0') return {};
  rest = digits.substr(static_cast<size_t>(end - digits.data()));
  return size;
}

std::optional<ParallelSizes> parse_sizes(std::string_view name) {
  const std::optional<int> tensor = take_size("tp", name);
  const std::optional<int> pipeline = take_size("pp", name);
  if ((!tensor && !pipeline) || !name.empty()) return {};
  return ParallelSizes{.tensor = tensor.value_or(1), .pipeline = pipeline.value_or(1)};
}

std::string name_of(const ParallelSizes& sizes) {
  if (sizes.pipeline == 1) return fmt::format("tp{}", sizes.tensor);
  return sizes.tensor == 1 ? fmt::format("pp{}", sizes.pipeline)
                           : fmt::format("tp{}pp{}", sizes.tensor, sizes.pipeline);
}

}  // namespace

std::vector<ScalingLayout> parse_scaling_layouts(const std::vector<std::string>& names, int num_ranks) {
  std::vector<ScalingLayout> layouts;
  for (const std::string& name : names) {
    const std::optional<ParallelSizes> sizes = parse_sizes(name);
    if (!sizes) {
      throw UsageError(
          fmt::format("--layouts: \"{}\" is no layout; expected tensor and pipeline sizes, like tp4, pp2 or "
                      "tp2pp2",
                      name));
    }
    if (sizes->num_ranks() > num_ranks) {
      throw UsageError(
          fmt::format("--layouts: {} needs {} ranks, but there {} {}: expected mpirun -np {} (or srun -n), "
                      "or smaller layouts",
                      name, sizes->num_ranks(), num_ranks == 1 ? "is" : "are", num_ranks, sizes->num_ranks()));
    }
    const auto is_same = [&](const ScalingLayout& other) { return other.sizes == *sizes; };
    if (const auto other = std::find_if(layouts.begin(), layouts.end(), is_same); other != layouts.end()) {
      throw UsageError(fmt::format("--layouts: {} is there twice{}", other->name,
                                   name == other->name ? "" : fmt::format(", once as {}", name)));
    }
    layouts.push_back({name_of(*sizes), *sizes});
  }
  return layouts;
}

}  // namespace cohort
