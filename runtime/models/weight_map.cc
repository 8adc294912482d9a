#include "runtime/models/weight_map.h"

namespace cohort {
namespace {

// Calls f on every TensorRef but those of the head.
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
  const auto if_any = [](auto& optional, const auto& g) {
    if (optional) g(*optional);
  };
  f(map.embedding);
  if_any(map.embedding_in, linear);
  if_any(map.position_embedding, f);
  if_any(map.embedding_norm, norm);
  for (auto& layer : map.layers) {
    norm(layer.attn_norm);
    linear(layer.qkv);
    if_any(layer.q_norm, f);
    if_any(layer.k_norm, f);
    linear(layer.attn_out);
    if_any(layer.attn_post_norm, norm);
    if_any(layer.mlp_norm, norm);
    linear(layer.up);
    linear(layer.down);
    if_any(layer.mlp_post_norm, norm);
  }
  if_any(map.final_norm, norm);
  if_any(map.embedding_out, linear);
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
  if (map.head_bias) all.push_back(*map.head_bias);
  return all;
}

WeightMap with_base_prefix(WeightMap map, const std::string& prefix) {
  for_each_base_tensor(map, [&](TensorRef& tensor) { tensor.name.insert(0, prefix); });
  return map;
}

}  // namespace cohort
