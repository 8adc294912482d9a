// The forms in which most checkpoints name and shape what makes a norm or a product.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/models/weight_map.h"

namespace cohort {

// NAME.weight and, with a bias, NAME.bias, [size].
NormMap norm_map(const std::string& name, int64_t size, bool has_bias);

// PREFIX + part + ".weight" [outputs, inputs] for each (part, outputs), and with biases ".bias" [outputs].
LinearMap linear_map(const std::string& prefix, const std::vector<std::pair<std::string, int64_t>>& parts,
                     int64_t inputs, bool has_bias);

}  // namespace cohort
