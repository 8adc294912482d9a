// OPT (Zhang et al. 2022, "OPT: Open Pre-trained Transformer Language Models"): LayerNorm, learned positions, ReLU. The
// one of 350M has post-norm blocks and projections between its embedding and its hidden size.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("hidden_size");
  spec.embedding_dim = config.positive_int("word_embed_proj_dim", spec.hidden);
  spec.num_layers = config.positive_int("num_hidden_layers");
  spec.num_heads = config.positive_int("num_attention_heads");
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = read_divided(config, "hidden_size", spec.hidden, "num_attention_heads", spec.num_heads);
  spec.ffn = config.positive_int("ffn_dim");
  spec.max_position = config.positive_int("max_position_embeddings");
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = 1e-5f;
  const bool is_pre_norm = config.boolean("do_layer_norm_before", true);
  spec.block = is_pre_norm ? BlockKind::kPreNorm : BlockKind::kPostNorm;
  spec.final_norm = is_pre_norm && !config.boolean("_remove_final_layer_norm", false);
  spec.position = PositionKind::kLearned;
  spec.position_offset = 2;  // the rows of its padding token, which fairseq's positions began behind
  spec.qkv_bias = spec.attn_out_bias = spec.mlp_bias = config.boolean("enable_bias", true);
  if (!config.boolean("layer_norm_elementwise_affine", true)) {
    config.fail("layer_norm_elementwise_affine", "false is not supported");
  }
  spec.tied_embeddings = config.boolean("tie_word_embeddings", true);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.activation = read_activation(config, "activation_function", "relu");
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  const std::string base = "decoder.";
  WeightMap map;
  map.embedding = {base + "embed_tokens.weight", Shape{spec.vocab, spec.embedding_dim}};
  map.position_embedding = {base + "embed_positions.weight", Shape{spec.position_offset + spec.max_position, hidden}};
  if (spec.embedding_dim != hidden) {
    map.embedding_in = linear_map(base, {{"project_in", hidden}}, spec.embedding_dim, false);
    map.embedding_out = linear_map(base, {{"project_out", spec.embedding_dim}}, hidden, false);
  }
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = base + "layers." + std::to_string(i) + ".";
    const std::string attention = layer + "self_attn.";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "self_attn_layer_norm", hidden, true),
        .qkv =
            linear_map(attention, {{"q_proj", hidden}, {"k_proj", hidden}, {"v_proj", hidden}}, hidden, spec.qkv_bias),
        .attn_out = linear_map(attention, {{"out_proj", hidden}}, hidden, spec.attn_out_bias),
        .mlp_norm = norm_map(layer + "final_layer_norm", hidden, true),
        .up = linear_map(layer, {{"fc1", spec.ffn}}, hidden, spec.mlp_bias),
        .down = linear_map(layer, {{"fc2", hidden}}, spec.ffn, spec.mlp_bias),
    });
  }
  if (spec.final_norm) map.final_norm = norm_map(base + "final_layer_norm", hidden, true);
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace

const Family kOptFamily = {
    .model_type = "opt",
    .architecture = "OPTForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
