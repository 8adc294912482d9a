// Other names for the tensors of a WeightMap.
#pragma once

#include <functional>
#include <string>

#include "runtime/models/weight_map.h"

namespace cohort {

// Calls rename(name) for the name of every tensor.
void rename_tensors(WeightMap& map, const std::function<void(std::string& name)>& rename);

}  // namespace cohort
