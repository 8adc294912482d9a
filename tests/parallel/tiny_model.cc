#include "tests/parallel/tiny_model.h"

#include <gtest/gtest.h>

#include "tests/files.h"

namespace cohort::test {

const char* const kLlamaConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1003, "hidden_size": 64,
  "num_hidden_layers": 3, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 8,
  "intermediate_size": 112, "max_position_embeddings": 96, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "attention_bias": true, "tie_word_embeddings": false})";

const char* const kGpt2Config = R"({
  "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 331, "n_embd": 64, "n_layer": 4,
  "n_head": 8, "n_inner": 160, "n_positions": 96, "n_ctx": 96})";

const char* const kOneKvHeadConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 61, "hidden_size": 48,
  "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 6,
  "intermediate_size": 96, "max_position_embeddings": 96, "rms_norm_eps": 1e-5, "rope_theta": 10000.0})";

const char* const kT5Config = R"({
  "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 203, "d_model": 40, "d_kv": 10,
  "d_ff": 76, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 8, "feed_forward_proj": "gated-gelu",
  "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "tie_word_embeddings": false,
  "n_positions": 96, "decoder_start_token_id": 0})";

OpenModel open_tiny(const std::string& config, DType dtype, Numerics numerics) {
  const TemporaryDirectory dir;
  write_file(dir / "config.json", config);
  auto model = open_model(dir.path(), {.dtype = dtype, .random_weights = true, .random_seed = 7, .numerics = numerics});
  EXPECT_TRUE(model.ok()) << model.status().message();
  return *std::move(model);
}

std::unique_ptr<Decoder> load_tiny(const std::string& config, DType dtype, const ParallelLayout& layout, Stream& stream,
                                   Numerics numerics) {
  OpenModel model = open_tiny(config, dtype, numerics);
  const auto shard = shard_model(model.config.spec, layout);
  EXPECT_TRUE(shard.ok()) << shard.status().message();
  auto loaded = load_model(std::move(model), *shard, nullptr, stream);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return std::move(loaded->decoder);
}

}  // namespace cohort::test
