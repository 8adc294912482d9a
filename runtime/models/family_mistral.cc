// Mistral (Jiang et al. 2023, "Mistral 7B"): Llama with a window over the positions.
#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  spec.windows = read_windows(config, spec.num_layers);
  return spec;
}

}  // namespace

const Family kMistralFamily = {
    .model_type = "mistral",
    .architecture = "MistralForCausalLM",
    .read_spec = read_spec,
    .weight_map = llama_like_weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
