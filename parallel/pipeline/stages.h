// Which layers each stage of a pipeline runs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/status.h"
#include "parallel/layout/slice.h"

namespace cohort {

// Cuts layers into `num_stages` runs so that the most costly stage costs as little as can be, the first stage counted
// with `first_cost` (the embedding) and the last with `last_cost` (the logits); of the cuts that do so, the one whose
// costs are nearest to each other. Every stage gets at least one layer. Costs are in any one unit, not negative.
// INVALID_ARGUMENT when there are fewer layers than stages.
Result<std::vector<Slice>> balance_stages(std::span<const int64_t> layer_costs, int64_t first_cost, int64_t last_cost,
                                          int num_stages);

}  // namespace cohort
