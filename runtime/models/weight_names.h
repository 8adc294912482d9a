// The forms in which most checkpoints name and shape what makes a norm, a product or a head.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/models/model_spec.h"
#include "runtime/models/weight_map.h"

namespace cohort {

// NAME.weight and, with a bias, NAME.bias, [size].
NormMap norm_map(const std::string& name, int64_t size, bool has_bias);

// PREFIX + part + ".weight" [outputs, inputs] for each (part, outputs), and with biases ".bias" [outputs].
LinearMap linear_map(const std::string& prefix, const std::vector<std::pair<std::string, int64_t>>& parts,
                     int64_t inputs, bool has_bias);

// The head NAME [vocab, embedding_dim]. Where the logits use the embedding's table, a checkpoint may carry a copy of it
// by that name, which nothing reads.
void set_head(WeightMap& map, const ModelSpec& spec, const std::string& name);

}  // namespace cohort
