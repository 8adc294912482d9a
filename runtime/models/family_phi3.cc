// Phi-3 and Phi-4 (Abdin et al. 2024): Llama with fused q, k, v and gate, up, and a window.
#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  spec.windows = read_windows(config, spec.num_layers);
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t q = spec.num_heads * spec.head_dim;
  const int64_t kv = spec.num_kv_heads * spec.head_dim;
  WeightMap map = llama_like_weight_map(spec);
  for (size_t i = 0; i < map.layers.size(); ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    map.layers[i].qkv = linear_map(layer + "self_attn.", {{"qkv_proj", q + 2 * kv}}, spec.hidden, false);
    map.layers[i].up = linear_map(layer + "mlp.", {{"gate_up_proj", 2 * spec.ffn}}, spec.hidden, false);
  }
  return map;
}

}  // namespace

const Family kPhi3Family = {
    .model_type = "phi3",
    .architecture = "Phi3ForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
