// Mixtral (Jiang et al. 2024, "Mixtral of Experts"): Mistral with experts in place of the MLP.
#include <algorithm>

#include "kernels/moe/moe.h"
#include "runtime/models/family.h"
#include "runtime/models/llama_like.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_llama_like_spec(config);
  spec.windows = read_windows(config, spec.num_layers);
  spec.num_experts = config.positive_int("num_local_experts");
  spec.experts_per_token = config.positive_int("num_experts_per_tok");
  spec.norm_topk = true;
  if (spec.num_experts > kMaxExperts) {
    config.fail("num_local_experts",
                "expected at most " + std::to_string(kMaxExperts) + ", got " + std::to_string(spec.num_experts));
  }
  if (spec.experts_per_token > std::min(spec.num_experts, kMaxExpertsPerToken)) {
    config.fail("num_experts_per_tok", "expected at most the " + std::to_string(spec.num_experts) + " experts and " +
                                           std::to_string(kMaxExpertsPerToken) + ", got " +
                                           std::to_string(spec.experts_per_token));
  }
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  WeightMap map = llama_like_weight_map(spec);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    LayerMap& layer = map.layers[static_cast<size_t>(i)];
    const std::string moe = "layers." + std::to_string(i) + ".block_sparse_moe.";
    layer.up = {};
    layer.down = {};
    layer.router = linear_map(moe, {{"gate", spec.num_experts}}, spec.hidden, false);
    for (int64_t e = 0; e < spec.num_experts; ++e) {
      const std::string expert = moe + "experts." + std::to_string(e) + ".";
      layer.experts.push_back({.up = linear_map(expert, {{"w1", spec.ffn}, {"w3", spec.ffn}}, spec.hidden, false),
                               .down = linear_map(expert, {{"w2", spec.hidden}}, spec.ffn, false)});
    }
  }
  return map;
}

}  // namespace

const Family kMixtralFamily = {
    .model_type = "mixtral",
    .architecture = "MixtralForCausalLM",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "model.",
};

}  // namespace cohort
