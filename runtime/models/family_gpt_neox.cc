// GPT-NeoX and Pythia (Black et al. 2022; Biderman et al. 2023): parallel blocks, partly rotary positions, q, k and v
// interleaved by head.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/rope_config.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("hidden_size");
  spec.num_layers = config.positive_int("num_hidden_layers");
  spec.num_heads = config.positive_int("num_attention_heads");
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = read_divided(config, "hidden_size", spec.hidden, "num_attention_heads", spec.num_heads);
  spec.ffn = config.positive_int("intermediate_size");
  spec.block = config.boolean("use_parallel_residual", true) ? BlockKind::kParallel : BlockKind::kPreNorm;
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_eps", 1e-5));
  spec.position = PositionKind::kRotary;
  spec.rotary = read_rotary_config(config, spec.head_dim, config.positive_int("max_position_embeddings", 2048));
  spec.max_position = longest_sequence(spec.rotary);
  spec.qkv_bias = spec.attn_out_bias = config.boolean("attention_bias", true);
  spec.mlp_bias = true;
  spec.tied_embeddings = config.boolean("tie_word_embeddings", false);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.activation = read_activation(config, "hidden_act", "gelu");
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  WeightMap map;
  map.embedding = {"embed_in.weight", Shape{spec.vocab, hidden}};
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "input_layernorm", hidden, true),
        .qkv = linear_map(layer, {{"attention.query_key_value", 3 * hidden}}, hidden, spec.qkv_bias),
        .qkv_order = QkvOrder::kByGroup,
        .attn_out = linear_map(layer, {{"attention.dense", hidden}}, hidden, spec.attn_out_bias),
        .mlp_norm = norm_map(layer + "post_attention_layernorm", hidden, true),
        .up = linear_map(layer, {{"mlp.dense_h_to_4h", spec.ffn}}, hidden, true),
        .down = linear_map(layer, {{"mlp.dense_4h_to_h", hidden}}, spec.ffn, true),
    });
  }
  map.final_norm = norm_map("final_layer_norm", hidden, true);
  map.ignorable = {"*.attention.bias", "*.attention.masked_bias", "*rotary_emb.inv_freq"};  // buffers
  set_head(map, spec, "embed_out.weight");
  return map;
}

}  // namespace

const Family kGptNeoxFamily = {
    .model_type = "gpt_neox",
    .architecture = "GPTNeoXForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "gpt_neox.",
};

}  // namespace cohort
