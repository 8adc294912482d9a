// The layouts that `cohort bench scaling` compares, by name: "tp4", "pp2", "tp2pp2"; "tp1" is one rank.
#pragma once

#include <string>
#include <vector>

#include "parallel/layout/parallel_layout.h"

namespace cohort {

struct ScalingLayout {
  std::string name;  // as above, sizes of 1 left out
  ParallelSizes sizes;

  int num_ranks() const { return static_cast<int>(sizes.num_ranks()); }
};

// In their order. UsageError names the flag --layouts and what is wrong: a name that is none, sizes that were there
// before, or more ranks than `num_ranks`.
std::vector<ScalingLayout> parse_scaling_layouts(const std::vector<std::string>& names, int num_ranks);

}  // namespace cohort
