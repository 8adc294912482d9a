// Qwen3 (Yang et al. 2025): Llama with a norm of each head of q and k.
#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  if (!config.has("head_dim")) config.fail("head_dim", "missing, expected a positive integer");
  spec.head_norm = true;
  spec.qkv_bias = config.boolean("attention_bias", false);
  spec.attn_out_bias = spec.qkv_bias;
  spec.windows = read_upper_windows(config, spec.num_layers);
  return spec;
}

}  // namespace

const Family kQwen3Family = {
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .read_spec = read_spec,
    .weight_map = llama_like_weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
