// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases of q, k and v.
#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  spec.qkv_bias = true;
  spec.windows = read_upper_windows(config, spec.num_layers);
  return spec;
}

}  // namespace

const Family kQwen2Family = {
    .model_type = "qwen2",
    .architecture = "Qwen2ForCausalLM",
    .read_spec = read_spec,
    .weight_map = llama_like_weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
