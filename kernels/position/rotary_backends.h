// The backends behind RotaryEmbedding::apply and rotate_and_cache, and what they share. Internal to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kv/kv_cache.h"
#include "kernels/position/rotary.h"

namespace cohort {

// Throws CheckError unless the arguments of RotaryEmbedding::apply fit.
void check_rotary(const TensorView& q, const TensorView& k, const ConstTensorView& positions,
                  const ConstTensorView& lengths, int64_t head_dim, const Stream& stream);

// Whether a sequence of `length` positions has other frequencies than short ones.
bool depends_on_length(const RotaryConfig& config, int64_t length);

// Frequencies of pairs [first_pair, first_pair + out.size()) for a sequence of `length` positions.
void compute_inv_freq(const RotaryConfig& config, int64_t length, int64_t first_pair, std::span<float> out);

// What a backend turns by.
struct RotaryAngles {
  const RotaryConfig& config;
  const float* inv_freq;       // [rotary_dim / 2] on the stream's device, for lengths that have none of their own
  const float* long_inv_freq;  // likewise, for all other lengths; null where each has its own, or there are none
  float attention_factor;
};

// Where keys go when they are turned, and values with them; as write_kv() has it.
struct CacheWrite {
  KvCacheView cache;
  ConstTensorView v;
  ConstTensorView slots;
};

}  // namespace cohort

namespace cohort::cpu {

// Arguments are checked; there is a token and a head.
void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& angles, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Turns q and k; if `write` is not null, which needs a head of k, stores k and v as well. Throws CheckError in a build
// without CUDA, and for heads of which more than 12288 elements turn.
void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& angles, const CacheWrite* write, Stream& stream);

}  // namespace cohort::cuda
