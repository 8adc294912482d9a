// The rotary part of config.json, in both forms that Hugging Face has written: `rope_theta` with `rope_scaling` (before
// transformers 5), and `rope_parameters`.
#pragma once

#include "kernels/position/rotary.h"
#include "runtime/models/config_reader.h"

namespace cohort {

// Requires head_dim and max_position; what is wrong is left in the reader's status.
RotaryConfig read_rotary_config(ConfigReader& config, int64_t head_dim, int64_t max_position);

// The longest sequence that the positions are made for: with the linear, dynamic and yarn scalings a factor times what
// the model was trained on, as vLLM reads them; with others max_position_embeddings says it.
int64_t longest_sequence(const RotaryConfig& rotary);

}  // namespace cohort
