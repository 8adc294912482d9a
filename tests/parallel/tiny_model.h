// Small models with random weights, whole or a rank's part, for tests of layouts.
#pragma once

#include <memory>
#include <string>

#include "runtime/engine/load_model.h"

namespace cohort::test {

// 16 heads that share 8 KV heads, 3 layers, and a vocabulary of 1003 that does not divide; gated MLP, rotary.
extern const char* const kLlamaConfig;
// Fused qkv stored [in, out], biases everywhere, learned positions, tied embeddings.
extern const char* const kGpt2Config;
// One KV head for 8 query heads.
extern const char* const kOneKvHeadConfig;
// An encoder of 3 layers and a decoder of 2; heads wider in all than the model; own head.
extern const char* const kT5Config;

// Looks at the model that `config`, a config.json, describes.
OpenModel open_tiny(const std::string& config, DType dtype, Numerics numerics = Numerics::kFast);

// The part of the rank at `layout`. Fails the test for what cannot be.
std::unique_ptr<Decoder> load_tiny(const std::string& config, DType dtype, const ParallelLayout& layout, Stream& stream,
                                   Numerics numerics = Numerics::kFast);

}  // namespace cohort::test
