#include "parallel/pipeline/stages.h"

#include <algorithm>
#include <limits>
#include <string>

namespace cohort {
namespace {

// A cut is better when its most costly stage costs less, then when its squares of costs sum to less.
struct CutCost {
  int64_t largest = std::numeric_limits<int64_t>::max();
  double sum_of_squares = 0;

  bool operator<(const CutCost& other) const {
    return largest != other.largest ? largest < other.largest : sum_of_squares < other.sum_of_squares;
  }
};

}  // namespace

Result<std::vector<Slice>> balance_stages(std::span<const int64_t> layer_costs, int64_t first_cost, int64_t last_cost,
                                          int num_stages) {
  const auto num_layers = static_cast<int>(layer_costs.size());
  if (num_stages < 1 || num_stages > num_layers) {
    return invalid_argument("pipeline_parallel_size: expected 1 to " + std::to_string(num_layers) +
                            ", since every stage needs a layer and the model has " + std::to_string(num_layers) +
                            ", got " + std::to_string(num_stages));
  }
  std::vector<int64_t> before{0};  // before[i]: the cost of layers [0, i)
  for (const int64_t cost : layer_costs) before.push_back(before.back() + cost);

  // best[s][i]: of layers [0, i) in stages 0 to s; begin[s][i]: where stage s begins in it.
  const auto size = static_cast<size_t>(num_layers) + 1;
  std::vector<std::vector<CutCost>> best(static_cast<size_t>(num_stages), std::vector<CutCost>(size));
  std::vector<std::vector<int>> begin(static_cast<size_t>(num_stages), std::vector<int>(size));
  for (int s = 0; s < num_stages; ++s) {
    for (int end = s + 1; end <= num_layers; ++end) {
      for (int first = s; first < end && (s > 0 || first == 0); ++first) {
        int64_t cost = before[static_cast<size_t>(end)] - before[static_cast<size_t>(first)];
        if (s == 0) cost += first_cost;
        if (s == num_stages - 1) cost += last_cost;
        const CutCost rest = s == 0 ? CutCost{0, 0} : best[static_cast<size_t>(s) - 1][static_cast<size_t>(first)];
        const CutCost whole{std::max(rest.largest, cost),
                            rest.sum_of_squares + static_cast<double>(cost) * static_cast<double>(cost)};
        if (whole < best[static_cast<size_t>(s)][static_cast<size_t>(end)]) {
          best[static_cast<size_t>(s)][static_cast<size_t>(end)] = whole;
          begin[static_cast<size_t>(s)][static_cast<size_t>(end)] = first;
        }
      }
    }
  }
  std::vector<Slice> stages(static_cast<size_t>(num_stages));
  int end = num_layers;
  for (auto s = static_cast<size_t>(num_stages); s-- > 0;) {
    const int first = begin[s][static_cast<size_t>(end)];
    stages[s] = {first, end};
    end = first;
  }
  return stages;
}

}  // namespace cohort
