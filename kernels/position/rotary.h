// Rotary position embedding (Su et al. 2021, "RoFormer"), with the length scalings of Hugging Face checkpoints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

struct RotaryAngles;  // rotary_backends.h

// Which two elements of a head turn together.
enum class RotaryPairing {
  kHalves,       // i and i + rotary_dim / 2: Llama, GPT-NeoX ("rotate_half")
  kInterleaved,  // 2i and 2i + 1: GPT-J, RoFormer
};

enum class RopeScalingKind { kNone, kLinear, kDynamic, kYarn, kLlama3, kLongRope };

// Fields as in `rope_scaling` / `rope_parameters` of config.json; a scaling reads only its own.
struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;
  int64_t original_max_position = 0;  // positions the model was trained on
  // llama3: wavelengths between original_max_position / high and / low are interpolated smoothly.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  // yarn (Peng et al. 2023, "YaRN", section 3): rotations at which interpolation ends and begins.
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;         // the ramp's ends are rounded outward to whole dimensions
  double attention_factor = 0;  // scales cos and sin; 0 derives it: 0.1 ln(factor) + 1, or from mscale
  double mscale = 0;
  double mscale_all_dim = 0;
  // longrope (Ding et al. 2024, "LongRoPE"): what the frequency of each pair is divided by, [rotary_dim / 2], in
  // sequences of up to original_max_position positions and in longer ones. attention_factor 0 derives it:
  // sqrt(1 + ln(factor) / ln(original_max_position)), or 1 for a factor of at most 1.
  std::vector<double> short_factor;
  std::vector<double> long_factor;
};

// Whether the angle of a position may depend on the length of its sequence, and so a key on what comes behind it.
inline bool varies_with_length(RopeScalingKind kind) {
  return kind == RopeScalingKind::kDynamic || kind == RopeScalingKind::kLongRope;
}

struct RotaryConfig {
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;  // even, at most head_dim; the rest of a head passes unchanged
  double theta = 10000;
  int64_t max_position = 0;  // max_position_embeddings
  RotaryPairing pairing = RotaryPairing::kHalves;
  RopeScaling scaling;
};

// The angles of a model. Immutable once prepared.
class RotaryEmbedding {
 public:
  // INVALID_ARGUMENT names the field that cannot be.
  static Result<RotaryEmbedding> create(const RotaryConfig& config);

  const RotaryConfig& config() const { return config_; }
  // Radians per position of each pair, [rotary_dim / 2], for a sequence of `length` positions. Two scalings depend on
  // it: beyond max_position the base of `dynamic` grows with the length, beyond original_max_position `longrope` has
  // its long factors.
  std::vector<float> inv_freq(int64_t length) const;
  float attention_factor() const { return attention_factor_; }

  // Puts the angles onto the stream's device. Called once, at load: apply on a CUDA stream throws CheckError unless it
  // was prepared for its device. Nothing to do on the CPU.
  void prepare(Stream& stream);

  // Turns q [num_tokens, num_heads, head_dim] and k [num_tokens, num_kv_heads, head_dim] in place (rows may be strided)
  // by positions [num_tokens] (int32). lengths [num_tokens] (int32): the length of the token's sequence as scalings
  // count it, max(prompt length, position + 1), which is what makes a chunked prefill equal to a whole one. Keys stay
  // as they were turned when a sequence outgrows its scaling while it is generated.
  void apply(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths, Stream& stream) const;

  // What a backend turns by on the stream's device. Throws CheckError unless prepared for it.
  RotaryAngles angles(const Stream& stream) const;

 private:
  RotaryConfig config_;
  std::vector<float> inv_freq_;       // of pairs [rotary_dim / 2], for lengths that have none of their own
  std::vector<float> long_inv_freq_;  // likewise, of long sequences with `longrope`; empty for others
  Tensor device_inv_freq_;            // both, one behind the other, on a CUDA device; empty until prepared
  float attention_factor_ = 1;
};

}  // namespace cohort
