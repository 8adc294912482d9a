// BLOOM (Le Scao et al. 2022): ALiBi, a norm behind the embedding, q, k and v interleaved by head.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int(config.has("n_embed") ? "n_embed" : "hidden_size");
  spec.num_layers = config.positive_int(config.has("n_layer") ? "n_layer" : "num_hidden_layers");
  const char* const heads_key = config.has("n_head") ? "n_head" : "num_attention_heads";
  spec.num_heads = config.positive_int(heads_key);
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = read_divided(config, "hidden_size", spec.hidden, heads_key, spec.num_heads);
  spec.ffn = 4 * spec.hidden;
  spec.max_position = config.positive_int("seq_length", 2048);  // what it was trained on: ALiBi knows no limit
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_epsilon", 1e-5));
  spec.embedding_norm = true;
  if (config.boolean("apply_residual_connection_post_layernorm", false)) {
    config.fail("apply_residual_connection_post_layernorm", "true is not supported");
  }
  spec.position = PositionKind::kAlibi;
  spec.qkv_bias = spec.attn_out_bias = spec.mlp_bias = true;
  spec.tied_embeddings = config.boolean("tie_word_embeddings", true);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.activation = Activation::kGeluTanh;
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  WeightMap map;
  map.embedding = {"word_embeddings.weight", Shape{spec.vocab, hidden}};
  map.embedding_norm = norm_map("word_embeddings_layernorm", hidden, true);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "h." + std::to_string(i) + ".";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "input_layernorm", hidden, true),
        .qkv = linear_map(layer, {{"self_attention.query_key_value", 3 * hidden}}, hidden, true),
        .qkv_order = QkvOrder::kByGroup,
        .attn_out = linear_map(layer, {{"self_attention.dense", hidden}}, hidden, true),
        .mlp_norm = norm_map(layer + "post_attention_layernorm", hidden, true),
        .up = linear_map(layer, {{"mlp.dense_h_to_4h", spec.ffn}}, hidden, true),
        .down = linear_map(layer, {{"mlp.dense_4h_to_h", hidden}}, spec.ffn, true),
    });
  }
  map.final_norm = norm_map("ln_f", hidden, true);
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace

const Family kBloomFamily = {
    .model_type = "bloom",
    .architecture = "BloomForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "transformer.",
};

}  // namespace cohort
