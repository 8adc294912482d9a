// T5 (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"): v1.0,
// v1.1 and Flan. An encoder-decoder without biases, whose positions are learned biases of scores.
#include <cmath>

#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

constexpr std::string_view kGatedPrefix = "gated-";
// Positions are relative, so that no size of the model bounds them: what it was trained on does.
constexpr int64_t kTrainedPositions = 512;

// "relu", "gated-gelu" and the like; that gelu is the approximation by tanh.
void read_feed_forward(ConfigReader& config, ModelSpec& spec) {
  const std::string name = config.text("feed_forward_proj", "relu");
  spec.gated_mlp = name.starts_with(kGatedPrefix);
  const std::string activation = spec.gated_mlp ? name.substr(kGatedPrefix.size()) : name;
  const auto known = activation_from_name(name == "gated-gelu" ? "gelu_new" : activation);
  if (!known) config.fail("feed_forward_proj", "\"" + name + "\" is not known");
  spec.activation = known.value_or(Activation::kRelu);
}

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("d_model");
  spec.num_encoder_layers = config.positive_int("num_layers");
  spec.num_layers = config.positive_int("num_decoder_layers", spec.num_encoder_layers);
  spec.num_heads = config.positive_int("num_heads");
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = config.positive_int("d_kv");
  spec.ffn = config.positive_int("d_ff");
  spec.max_position = config.positive_int("n_positions", kTrainedPositions);
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_epsilon", 1e-6));
  spec.position = PositionKind::kRelative;
  spec.num_position_buckets = config.positive_int("relative_attention_num_buckets", 32);
  spec.max_position_distance = config.positive_int("relative_attention_max_distance", 128);
  if (spec.num_position_buckets % 4 != 0) {
    config.fail("relative_attention_num_buckets",
                "expected a multiple of 4, got " + std::to_string(spec.num_position_buckets));
  }
  if (spec.max_position_distance <= spec.num_position_buckets / 2) {
    config.fail("relative_attention_max_distance", "expected more than half of relative_attention_num_buckets, " +
                                                       std::to_string(spec.num_position_buckets / 2) + ", got " +
                                                       std::to_string(spec.max_position_distance));
  }
  read_feed_forward(config, spec);
  // A head that is the embedding reads scaled states. transformers 5 writes tie_word_embeddings true in any case.
  spec.tied_embeddings = config.boolean("scale_decoder_outputs", config.boolean("tie_word_embeddings", true));
  if (spec.tied_embeddings) spec.logit_scale = 1 / std::sqrt(static_cast<float>(spec.hidden));
  spec.decoder_start_token = config.int32("decoder_start_token_id", 0);
  if (spec.decoder_start_token < 0 || spec.decoder_start_token >= spec.vocab) {
    config.fail("decoder_start_token_id", "expected a token of the vocabulary of " + std::to_string(spec.vocab));
  }
  return spec;
}

// `decoder`: its blocks have a sublayer more, attention to the source.
LayerMap layer_map(const ModelSpec& spec, const std::string& block, bool is_decoder) {
  const int64_t inner = spec.num_heads * spec.head_dim;
  const auto sublayer = [&](int i) { return block + "layer." + std::to_string(i) + "."; };
  const std::string attention = sublayer(0) + "SelfAttention.";
  const std::string cross = sublayer(1) + "EncDecAttention.";
  const std::string mlp = sublayer(is_decoder ? 2 : 1);
  const std::string dense = mlp + "DenseReluDense.";
  const auto norm = [&](const std::string& where) { return norm_map(where + "layer_norm", spec.hidden, false); };
  LayerMap layer{
      .attn_norm = norm(sublayer(0)),
      .qkv = linear_map(attention, {{"q", inner}, {"k", inner}, {"v", inner}}, spec.hidden, false),
      .attn_out = linear_map(attention, {{"o", spec.hidden}}, inner, false),
      .mlp_norm = norm(mlp),
      .up = spec.gated_mlp ? linear_map(dense, {{"wi_0", spec.ffn}, {"wi_1", spec.ffn}}, spec.hidden, false)
                           : linear_map(dense, {{"wi", spec.ffn}}, spec.hidden, false),
      .down = linear_map(dense, {{"wo", spec.hidden}}, spec.ffn, false),
  };
  if (is_decoder) {
    layer.cross = {.norm = norm(sublayer(1)),
                   .q = linear_map(cross, {{"q", inner}}, spec.hidden, false),
                   .kv = linear_map(cross, {{"k", inner}, {"v", inner}}, spec.hidden, false),
                   .out = linear_map(cross, {{"o", spec.hidden}}, inner, false)};
  }
  return layer;
}

TensorRef position_bias(const ModelSpec& spec, const std::string& stack) {  // all layers use that of the first
  return {stack + "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
          Shape{spec.num_position_buckets, spec.num_heads}};
}

WeightMap weight_map(const ModelSpec& spec) {
  WeightMap map;
  map.embedding = {"shared.weight", Shape{spec.vocab, spec.hidden}};
  for (int64_t i = 0; i < spec.num_encoder_layers; ++i) {
    map.encoder_layers.push_back(layer_map(spec, "encoder.block." + std::to_string(i) + ".", false));
  }
  map.encoder_position_bias = position_bias(spec, "encoder.");
  map.encoder_norm = norm_map("encoder.final_layer_norm", spec.hidden, false);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    map.layers.push_back(layer_map(spec, "decoder.block." + std::to_string(i) + ".", true));
  }
  map.position_bias = position_bias(spec, "decoder.");
  map.final_norm = norm_map("decoder.final_layer_norm", spec.hidden, false);
  // Copies of the embedding, and biases that the first checkpoints had and nothing read.
  map.ignorable = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                   "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"};
  set_head(map, spec, "lm_head.weight");
  return map;
}

}  // namespace

const Family kT5Family = {
    .model_type = "t5",
    .architecture = "T5ForConditionalGeneration",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "",
};

}  // namespace cohort
