// What the many models that took over Llama's blocks and names have in common. Their families say what differs.
#pragma once

#include "runtime/models/config_reader.h"
#include "runtime/models/model_spec.h"
#include "runtime/models/weight_map.h"

namespace cohort {

// Pre-norm RMSNorm, rotary positions, grouped heads, gated SiLU, no biases. head_dim is as config.json says, else
// hidden / heads.
ModelSpec read_llama_like_spec(ConfigReader& config);

// Windows as Hugging Face has them: `layer_types` says which layers have the window `sliding_window`; where it does not
// say, those for which `has_window` is true, or all of them. None if sliding_window is null.
std::vector<int64_t> read_windows(ConfigReader& config, int64_t num_layers, bool (*has_window)(int64_t layer));
std::vector<int64_t> read_windows(ConfigReader& config, int64_t num_layers);

// The same of models that say `use_sliding_window`: the layers from `max_window_layers` on have it.
std::vector<int64_t> read_upper_windows(ConfigReader& config, int64_t num_layers);

WeightMap llama_like_weight_map(const ModelSpec& spec);

}  // namespace cohort
