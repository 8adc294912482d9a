#include "runtime/models/weight_map.h"

#include "runtime/models/model_spec.h"

namespace cohort {
namespace {

// Calls f on every TensorRef but the head's.
template <typename Map, typename F>
void for_each_base_tensor(Map& map, F&& f) {
  const auto norm = [&](auto& n) {
    f(n.weight);
    if (n.bias) f(*n.bias);
  };
  const auto linear = [&](auto& l) {
    for (auto& weight : l.weights) f(weight);
    for (auto& bias : l.biases) f(bias);
  };
  f(map.embedding);
  if (map.position_embedding) f(*map.position_embedding);
  for (auto& layer : map.layers) {
    norm(layer.attn_norm);
    linear(layer.qkv);
    linear(layer.attn_out);
    norm(layer.mlp_norm);
    linear(layer.up);
    linear(layer.down);
  }
  norm(map.final_norm);
}

}  // namespace

int64_t LinearMap::num_outputs() const {
  int64_t total = 0;
  for (const TensorRef& weight : weights) total += weight.shape[layout == WeightLayout::kOutIn ? 0 : 1];
  return total;
}

int64_t LinearMap::num_inputs() const { return weights[0].shape[layout == WeightLayout::kOutIn ? 1 : 0]; }

std::vector<TensorRef> all_tensors(const WeightMap& map) {
  std::vector<TensorRef> all;
  for_each_base_tensor(map, [&](const TensorRef& tensor) { all.push_back(tensor); });
  if (map.head) all.push_back(*map.head);
  return all;
}

WeightMap with_base_prefix(WeightMap map, const std::string& prefix) {
  for_each_base_tensor(map, [&](TensorRef& tensor) { tensor.name.insert(0, prefix); });
  return map;
}

int64_t kv_bytes_per_token(const ModelSpec& spec, DType dtype) {
  return spec.num_layers * 2 * dtype_bytes(dtype, spec.num_kv_heads * spec.head_dim);
}

}  // namespace cohort
