// Llama 1 to 3 and their kin (Touvron et al. 2023): pre-norm RMSNorm, rotary positions, grouped heads, gated SiLU.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/rope_config.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("hidden_size");
  spec.num_layers = config.positive_int("num_hidden_layers");
  spec.num_heads = config.positive_int("num_attention_heads");
  spec.num_kv_heads = config.positive_int("num_key_value_heads", spec.num_heads);
  spec.head_dim = config.positive_int("head_dim", std::max<int64_t>(1, spec.hidden / spec.num_heads));
  spec.ffn = config.positive_int("intermediate_size");
  spec.norm = NormKind::kRmsNorm;
  spec.norm_eps = static_cast<float>(config.positive_number("rms_norm_eps", 1e-6));
  spec.position = PositionKind::kRotary;
  spec.rotary = read_rotary_config(config, spec.head_dim, config.positive_int("max_position_embeddings", 2048));
  spec.max_position = longest_sequence(spec.rotary);
  spec.gated_mlp = true;
  spec.qkv_bias = config.boolean("attention_bias", false);
  spec.attn_out_bias = spec.qkv_bias;
  spec.mlp_bias = config.boolean("mlp_bias", false);
  spec.tied_embeddings = config.boolean("tie_word_embeddings", false);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.activation = read_activation(config, "hidden_act", "silu");
  return spec;
}

LinearMap linear(const std::string& prefix, std::initializer_list<std::pair<const char*, int64_t>> parts, int64_t in,
                 bool bias) {
  LinearMap map;
  for (const auto& [name, out] : parts) {
    map.weights.push_back({prefix + name + ".weight", Shape{out, in}});
    if (bias) map.biases.push_back({prefix + name + ".bias", Shape{out}});
  }
  return map;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t q = spec.num_heads * spec.head_dim;
  const int64_t kv = spec.num_kv_heads * spec.head_dim;
  WeightMap map;
  map.embedding = {"embed_tokens.weight", Shape{spec.vocab, spec.hidden}};
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    map.layers.push_back({
        .attn_norm = {{layer + "input_layernorm.weight", Shape{spec.hidden}}, {}},
        .qkv =
            linear(layer + "self_attn.", {{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}, spec.hidden, spec.qkv_bias),
        .attn_out = linear(layer + "self_attn.", {{"o_proj", spec.hidden}}, q, spec.attn_out_bias),
        .mlp_norm = {{layer + "post_attention_layernorm.weight", Shape{spec.hidden}}, {}},
        .up = linear(layer + "mlp.", {{"gate_proj", spec.ffn}, {"up_proj", spec.ffn}}, spec.hidden, spec.mlp_bias),
        .down = linear(layer + "mlp.", {{"down_proj", spec.hidden}}, spec.ffn, spec.mlp_bias),
    });
  }
  map.final_norm = {{"norm.weight", Shape{spec.hidden}}, {}};
  if (!spec.tied_embeddings) map.head = {"lm_head.weight", Shape{spec.vocab, spec.hidden}};
  map.ignorable = {"*rotary_emb.inv_freq"};
  if (spec.tied_embeddings) map.ignorable.push_back("lm_head.weight");
  return map;
}

}  // namespace

const Family kLlamaFamily = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
