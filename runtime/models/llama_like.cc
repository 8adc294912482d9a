#include "runtime/models/llama_like.h"

#include <algorithm>
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/rope_config.h"
#include "runtime/models/weight_names.h"

namespace cohort {

ModelSpec read_llama_like_spec(ConfigReader& config) {
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
  spec.tied_embeddings = config.boolean("tie_word_embeddings", false);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.activation = read_activation(config, "hidden_act", "silu");
  return spec;
}

std::vector<int64_t> read_windows(ConfigReader& config, int64_t num_layers, bool (*has_window)(int64_t layer)) {
  if (!config.has("sliding_window") || num_layers > kMaxLayers) return {};
  const int64_t window = config.positive_int("sliding_window", 1);
  std::vector<int64_t> windows(static_cast<size_t>(num_layers));
  if (!config.has("layer_types")) {
    for (int64_t i = 0; i < num_layers; ++i) windows[static_cast<size_t>(i)] = has_window(i) ? window : 0;
    return windows;
  }
  const nlohmann::json& types = config.json()["layer_types"];
  if (!types.is_array() || types.size() != windows.size()) {
    config.fail("layer_types", "expected a list of " + std::to_string(num_layers) + " names");
    return {};
  }
  for (size_t i = 0; i < windows.size(); ++i) {
    if (types[i] == "sliding_attention") {
      windows[i] = window;
    } else if (types[i] != "full_attention") {
      config.fail("layer_types",
                  types[i].dump().substr(0, 60) + " is not known; known: sliding_attention, " + "full_attention");
    }
  }
  return windows;
}

std::vector<int64_t> read_windows(ConfigReader& config, int64_t num_layers) {
  return read_windows(config, num_layers, [](int64_t) { return true; });
}

std::vector<int64_t> read_upper_windows(ConfigReader& config, int64_t num_layers) {
  if (!config.boolean("use_sliding_window", false)) return {};
  std::vector<int64_t> windows = read_windows(config, num_layers);
  if (config.has("layer_types")) return windows;
  const int64_t first = config.positive_int("max_window_layers", 28);
  std::fill_n(windows.begin(), std::min<int64_t>(first, std::ssize(windows)), 0);
  return windows;
}

WeightMap llama_like_weight_map(const ModelSpec& spec) {
  const int64_t q = spec.num_heads * spec.head_dim;
  const int64_t kv = spec.num_kv_heads * spec.head_dim;
  WeightMap map;
  map.embedding = {"embed_tokens.weight", Shape{spec.vocab, spec.hidden}};
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    const std::string attention = layer + "self_attn.";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "input_layernorm", spec.hidden, false),
        .qkv = linear_map(attention, {{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}, spec.hidden, spec.qkv_bias),
        .attn_out = linear_map(attention, {{"o_proj", spec.hidden}}, q, spec.attn_out_bias),
        .mlp_norm = norm_map(layer + "post_attention_layernorm", spec.hidden, false),
        .up = linear_map(layer + "mlp.", {{"gate_proj", spec.ffn}, {"up_proj", spec.ffn}}, spec.hidden, spec.mlp_bias),
        .down = linear_map(layer + "mlp.", {{"down_proj", spec.hidden}}, spec.ffn, spec.mlp_bias),
    });
    if (spec.head_norm) {
      map.layers.back().q_norm = TensorRef{attention + "q_norm.weight", Shape{spec.head_dim}};
      map.layers.back().k_norm = TensorRef{attention + "k_norm.weight", Shape{spec.head_dim}};
    }
  }
  map.final_norm = norm_map("norm", spec.hidden, false);
  map.ignorable = {"*rotary_emb.inv_freq"};
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace cohort
