// The backends behind RotaryEmbedding::apply, and the frequencies they share. Internal to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/position/rotary.h"

namespace cohort {

// Whether a sequence of `length` positions has frequencies of its own.
bool depends_on_length(const RotaryConfig& config, int64_t length);

// Frequencies of pairs [first_pair, first_pair + out.size()) for a sequence of `length` positions.
void compute_inv_freq(const RotaryConfig& config, int64_t length, int64_t first_pair, std::span<float> out);

// What a backend turns by.
struct RotaryAngles {
  const RotaryConfig& config;
  const float* inv_freq;  // [rotary_dim / 2] on the stream's device, for lengths that have none of their own
  float attention_factor;
};

}  // namespace cohort

namespace cohort::cpu {

// Arguments are checked; there is a token and a head.
void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& angles, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throws CheckError in a build without CUDA.
void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& angles, Stream& stream);

}  // namespace cohort::cuda
