#include "runtime/models/weight_names.h"

namespace cohort {

NormMap norm_map(const std::string& name, int64_t size, bool has_bias) {
  NormMap map{{name + ".weight", Shape{size}}, {}};
  if (has_bias) map.bias = TensorRef{name + ".bias", Shape{size}};
  return map;
}

LinearMap linear_map(const std::string& prefix, const std::vector<std::pair<std::string, int64_t>>& parts,
                     int64_t inputs, bool has_bias) {
  LinearMap map;
  for (const auto& [name, outputs] : parts) {
    map.weights.push_back({prefix + name + ".weight", Shape{outputs, inputs}});
    if (has_bias) map.biases.push_back({prefix + name + ".bias", Shape{outputs}});
  }
  return map;
}

void set_head(WeightMap& map, const ModelSpec& spec, const std::string& name) {
  if (spec.tied_embeddings) {
    map.ignorable.push_back(name);
  } else {
    map.head = {name, Shape{spec.vocab, spec.embedding_dim}};
  }
}

}  // namespace cohort
