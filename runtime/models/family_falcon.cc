// Falcon (Almazrouei et al. 2023): parallel blocks with one KV head (7B) or groups and two norms (40B, 180B); those of
// the RefinedWeb study have sequential blocks, ALiBi and biases.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/rope_config.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

// Whether the heads of q, k and v are fused group by group; with one KV head for all, they are fused part by part.
bool is_grouped(const ModelSpec& spec) { return spec.num_kv_heads > 1; }

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("hidden_size");
  spec.num_layers = config.positive_int("num_hidden_layers");
  spec.num_heads = config.positive_int("num_attention_heads");
  const bool is_new = config.boolean("new_decoder_architecture", false);
  const bool has_one_kv_head = !is_new && config.boolean("multi_query", true);
  spec.num_kv_heads = has_one_kv_head ? 1
                      : is_new        ? config.positive_int("num_kv_heads", spec.num_heads)
                                      : spec.num_heads;
  spec.head_dim = read_divided(config, "hidden_size", spec.hidden, "num_attention_heads", spec.num_heads);
  spec.ffn = config.positive_int("ffn_hidden_size", 4 * spec.hidden);
  const bool is_parallel = is_new || config.boolean("parallel_attn", true);
  spec.block = is_parallel ? BlockKind::kParallel : BlockKind::kPreNorm;
  spec.shares_norm = is_parallel && (!is_new || config.positive_int("num_ln_in_parallel_attn", 2) == 1);
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_epsilon", 1e-5));
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.max_position = config.positive_int("max_position_embeddings", 2048);
  if (config.boolean("alibi", false)) {
    spec.position = PositionKind::kAlibi;
    spec.alibi_scale = spec.attention_scale;  // it scales what it has added up
  } else {
    spec.position = PositionKind::kRotary;
    spec.rotary = read_rotary_config(config, spec.head_dim, spec.max_position);
    spec.max_position = longest_sequence(spec.rotary);
  }
  spec.qkv_bias = spec.attn_out_bias = spec.mlp_bias = config.boolean("bias", false);
  spec.tied_embeddings = config.boolean("tie_word_embeddings", true);
  spec.activation = read_activation(config, "activation", "gelu");
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  const int64_t num_qkv = (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim;
  const bool has_two_norms = spec.block == BlockKind::kParallel && !spec.shares_norm;
  WeightMap map;
  map.embedding = {"word_embeddings.weight", Shape{spec.vocab, hidden}};
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "h." + std::to_string(i) + ".";
    map.layers.push_back({
        .attn_norm = norm_map(layer + (has_two_norms ? "ln_attn" : "input_layernorm"), hidden, true),
        .qkv = linear_map(layer, {{"self_attention.query_key_value", num_qkv}}, hidden, spec.qkv_bias),
        .qkv_order = is_grouped(spec) ? QkvOrder::kByGroup : QkvOrder::kByPart,
        .attn_out =
            linear_map(layer, {{"self_attention.dense", hidden}}, spec.num_heads * spec.head_dim, spec.attn_out_bias),
        .up = linear_map(layer, {{"mlp.dense_h_to_4h", spec.ffn}}, hidden, spec.mlp_bias),
        .down = linear_map(layer, {{"mlp.dense_4h_to_h", hidden}}, spec.ffn, spec.mlp_bias),
    });
    if (!spec.shares_norm) {
      map.layers.back().mlp_norm =
          norm_map(layer + (has_two_norms ? "ln_mlp" : "post_attention_layernorm"), hidden, true);
    }
  }
  map.final_norm = norm_map("ln_f", hidden, true);
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace

const Family kFalconFamily = {
    .model_type = "falcon",
    .architecture = "FalconForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "transformer.",
};

}  // namespace cohort
