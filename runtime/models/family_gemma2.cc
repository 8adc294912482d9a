// Gemma 2 (Gemma Team 2024): norms before and after each sublayer, soft caps, every other layer with a window.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  spec.block = BlockKind::kSandwich;
  spec.norm_weight_offset = 1;
  spec.head_dim = config.positive_int("head_dim", 256);
  spec.rotary.head_dim = spec.rotary.rotary_dim = spec.head_dim;
  spec.activation = read_activation(config, "hidden_activation", config.text("hidden_act", "gelu_pytorch_tanh"));
  spec.tied_embeddings = config.boolean("tie_word_embeddings", true);
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.hidden));
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(config.positive_number("query_pre_attn_scalar", 256)));
  spec.attention_soft_cap = static_cast<float>(config.positive_number("attn_logit_softcapping", 0));
  spec.logit_soft_cap = static_cast<float>(config.positive_number("final_logit_softcapping", 0));
  spec.qkv_bias = config.boolean("attention_bias", false);
  spec.attn_out_bias = spec.qkv_bias;
  spec.windows = read_windows(config, spec.num_layers, [](int64_t layer) { return layer % 2 == 0; });
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  WeightMap map = llama_like_weight_map(spec);
  for (size_t i = 0; i < map.layers.size(); ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    map.layers[i].attn_post_norm = norm_map(layer + "post_attention_layernorm", spec.hidden, false);
    map.layers[i].mlp_norm = norm_map(layer + "pre_feedforward_layernorm", spec.hidden, false);
    map.layers[i].mlp_post_norm = norm_map(layer + "post_feedforward_layernorm", spec.hidden, false);
  }
  return map;
}

}  // namespace

const Family kGemma2Family = {
    .model_type = "gemma2",
    .architecture = "Gemma2ForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
