// GPT-2 (Radford et al. 2019): pre-norm LayerNorm, learned positions, fused qkv, weights stored [in, out].
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("n_embd");
  spec.num_layers = config.positive_int("n_layer");
  spec.num_heads = config.positive_int("n_head");
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = read_divided(config, "n_embd", spec.hidden, "n_head", spec.num_heads);
  spec.ffn = config.positive_int("n_inner", 4 * spec.hidden);
  spec.max_position = config.positive_int("n_positions", config.positive_int("n_ctx", 1024));
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_epsilon", 1e-5));
  spec.position = PositionKind::kLearned;
  spec.qkv_bias = spec.attn_out_bias = spec.mlp_bias = true;
  spec.tied_embeddings = config.boolean("tie_word_embeddings", true);
  const bool is_scaled = config.boolean("scale_attn_weights", true);
  spec.attention_scale = is_scaled ? 1 / std::sqrt(static_cast<float>(spec.head_dim)) : 1;
  if (config.boolean("scale_attn_by_inverse_layer_idx", false)) {
    config.fail("scale_attn_by_inverse_layer_idx", "true is not supported");
  }
  spec.activation = read_activation(config, "activation_function", "gelu_new");
  return spec;
}

LinearMap conv1d(const std::string& name, int64_t in, int64_t out) {
  return {{{name + ".weight", Shape{in, out}}}, {{name + ".bias", Shape{out}}}, WeightLayout::kInOut};
}

WeightMap weight_map(const ModelSpec& spec) {
  WeightMap map;
  map.embedding = {"wte.weight", Shape{spec.vocab, spec.hidden}};
  map.position_embedding = {"wpe.weight", Shape{spec.max_position, spec.hidden}};
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "h." + std::to_string(i) + ".";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "ln_1", spec.hidden, true),
        .qkv = conv1d(layer + "attn.c_attn", spec.hidden, 3 * spec.hidden),
        .attn_out = conv1d(layer + "attn.c_proj", spec.hidden, spec.hidden),
        .mlp_norm = norm_map(layer + "ln_2", spec.hidden, true),
        .up = conv1d(layer + "mlp.c_fc", spec.hidden, spec.ffn),
        .down = conv1d(layer + "mlp.c_proj", spec.ffn, spec.hidden),
    });
  }
  map.final_norm = norm_map("ln_f", spec.hidden, true);
  map.ignorable = {"*.attn.bias", "*.attn.masked_bias"};  // the causal mask, stored as a buffer
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace

const Family kGpt2Family = {
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "transformer.",
};

}  // namespace cohort
