// GPT-J (Wang & Komatsuzaki 2021): parallel blocks with one norm, rotary positions of neighbouring elements.
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
  spec.max_position = config.positive_int("n_positions", 2048);
  spec.block = BlockKind::kParallel;
  spec.shares_norm = true;
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_epsilon", 1e-5));
  spec.position = PositionKind::kRotary;
  spec.rotary = {.head_dim = spec.head_dim,
                 .rotary_dim = config.positive_int("rotary_dim", spec.head_dim),
                 .max_position = spec.max_position,
                 .pairing = RotaryPairing::kInterleaved,
                 .scaling = {}};
  spec.mlp_bias = true;
  spec.tied_embeddings = config.boolean("tie_word_embeddings", false);
  spec.head_bias = true;
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.activation = read_activation(config, "activation_function", "gelu_new");
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  WeightMap map;
  map.embedding = {"wte.weight", Shape{spec.vocab, hidden}};
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "h." + std::to_string(i) + ".";
    const std::string attention = layer + "attn.";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "ln_1", hidden, true),
        .qkv = linear_map(attention, {{"q_proj", hidden}, {"k_proj", hidden}, {"v_proj", hidden}}, hidden, false),
        .attn_out = linear_map(attention, {{"out_proj", hidden}}, hidden, false),
        .up = linear_map(layer, {{"mlp.fc_in", spec.ffn}}, hidden, true),
        .down = linear_map(layer, {{"mlp.fc_out", hidden}}, spec.ffn, true),
    });
  }
  map.final_norm = norm_map("ln_f", hidden, true);
  map.ignorable = {"*.attn.bias", "*.attn.masked_bias"};  // the causal mask, stored as a buffer
  map.head_bias = {"lm_head.bias", Shape{spec.vocab}};
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace

const Family kGptJFamily = {
    .model_type = "gptj",
    .architecture = "GPTJForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "transformer.",
};

}  // namespace cohort
