// ModelSpec: everything that makes one decoder differ from another, as data. Read from config.json by the family
// (family.h); nothing downstream asks which family it was.
//
// A plain value; immutable once read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/core/dtype.h"
#include "kernels/position/rotary.h"

namespace cohort {

enum class NormKind { kRmsNorm, kLayerNorm };
enum class PositionKind { kRotary, kLearned };

struct ModelSpec {
  std::string family;  // "llama", "gpt2"

  int64_t vocab = 0;
  int64_t hidden = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;
  int64_t ffn = 0;
  int64_t max_position = 0;  // the longest sequence: prompt and output together

  NormKind norm = NormKind::kRmsNorm;
  float norm_eps = 0;

  PositionKind position = PositionKind::kRotary;
  RotaryConfig rotary;  // for kRotary

  Activation activation = Activation::kSilu;
  bool gated_mlp = false;  // f(gate) * up, then down

  bool qkv_bias = false;
  bool attn_out_bias = false;
  bool mlp_bias = false;
  bool tied_embeddings = false;  // the logits use the embedding table

  float attention_scale = 1;  // of q . k, head_dim^-1/2 as a rule

  DType checkpoint_dtype = DType::kF32;  // what config.json says the weights are
};

// What generation_config.json (config.json where it is silent) says of generation.
struct GenerationDefaults {
  std::vector<int32_t> eos_ids;
  bool do_sample = false;
  float temperature = 1;
  int32_t top_k = 0;
  float top_p = 1;
  float repetition_penalty = 1;
};

// Bytes of keys and values that one token keeps in the cache, over all layers.
int64_t kv_bytes_per_token(const ModelSpec& spec, DType dtype);

}  // namespace cohort
