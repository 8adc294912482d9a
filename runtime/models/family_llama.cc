// Llama 1 to 3 and their kin (Touvron et al. 2023): all of llama_like.h, with biases where config.json says so.
#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  spec.qkv_bias = config.boolean("attention_bias", false);
  spec.attn_out_bias = spec.qkv_bias;
  spec.mlp_bias = config.boolean("mlp_bias", false);
  return spec;
}

}  // namespace

const Family kLlamaFamily = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .read_spec = read_spec,
    .weight_map = llama_like_weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
