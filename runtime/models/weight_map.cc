#include "runtime/models/weight_map.h"

#include "runtime/models/rename_tensors.h"

namespace cohort {
namespace {

template <typename Optional, typename F>
void if_any(Optional& optional, const F& f) {
  if (optional) f(*optional);
}

// Functions that call f on every TensorRef of a norm, of a product.
template <typename F>
auto for_norm(F& f) {
  return [&f](auto& norm) {
    f(norm.weight);
    if_any(norm.bias, f);
  };
}

template <typename F>
auto for_linear(F& f) {
  return [&f](auto& linear) {
    for (auto& weight : linear.weights) f(weight);
    for (auto& bias : linear.biases) f(bias);
  };
}

// Calls f on every TensorRef but those of the head.
template <typename Map, typename F>
void for_each_base_tensor(Map& map, F&& f) {
  const auto norm = for_norm(f);
  const auto linear = for_linear(f);
  f(map.embedding);
  if_any(map.embedding_in, linear);
  if_any(map.position_embedding, f);
  if_any(map.token_type_embedding, f);
  if_any(map.embedding_norm, norm);
  const auto layer_tensors = [&](auto& layer) {
    norm(layer.attn_norm);
    linear(layer.qkv);
    if_any(layer.q_norm, f);
    if_any(layer.k_norm, f);
    linear(layer.attn_out);
    if_any(layer.attn_post_norm, norm);
    if_any(layer.cross, [&](auto& cross) {
      norm(cross.norm);
      linear(cross.q);
      linear(cross.kv);
      linear(cross.out);
    });
    if_any(layer.mlp_norm, norm);
    linear(layer.up);
    linear(layer.down);
    if_any(layer.router, linear);
    for (auto& expert : layer.experts) {
      linear(expert.up);
      linear(expert.down);
    }
    if_any(layer.mlp_post_norm, norm);
  };
  for (auto& layer : map.encoder_layers) layer_tensors(layer);
  if_any(map.encoder_position_bias, f);
  if_any(map.encoder_norm, norm);
  for (auto& layer : map.layers) layer_tensors(layer);
  if_any(map.position_bias, f);
  if_any(map.final_norm, norm);
  if_any(map.embedding_out, linear);
  if_any(map.pooler, linear);
}

// Calls f on those.
template <typename Map, typename F>
void for_each_head_tensor(Map& map, F&& f) {
  if_any(map.head_transform, for_linear(f));
  if_any(map.head_transform_norm, for_norm(f));
  if_any(map.head, f);
  if_any(map.head_bias, f);
  if_any(map.label_head, for_linear(f));
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
  const auto add = [&](const TensorRef& tensor) { all.push_back(tensor); };
  for_each_base_tensor(map, add);
  for_each_head_tensor(map, add);
  return all;
}

WeightMap with_base_prefix(WeightMap map, const std::string& prefix) {
  for_each_base_tensor(map, [&](TensorRef& tensor) { tensor.name.insert(0, prefix); });
  return map;
}

void rename_tensors(WeightMap& map, const std::function<void(std::string& name)>& rename) {
  const auto f = [&](TensorRef& tensor) { rename(tensor.name); };
  for_each_base_tensor(map, f);
  for_each_head_tensor(map, f);
}

}  // namespace cohort
