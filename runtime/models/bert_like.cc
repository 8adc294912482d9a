#include "runtime/models/bert_like.h"

#include <cmath>
#include <string>

#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

// By the end of `architectures[0]`; a base model where there is none.
HeadKind read_head(ConfigReader& config) {
  if (!config.has("architectures")) return HeadKind::kNone;
  const auto name = config.json()["architectures"][0].get<std::string>();
  if (name.ends_with("ForSequenceClassification")) return HeadKind::kSequenceLabels;
  if (name.ends_with("ForTokenClassification")) return HeadKind::kTokenLabels;
  if (name.ends_with("ForMaskedLM") || name.ends_with("ForPreTraining")) return HeadKind::kMaskedToken;
  return HeadKind::kNone;
}

// id2label; where it is silent as many as num_labels says, by the names that transformers gives them.
std::vector<std::string> read_labels(ConfigReader& config) {
  constexpr int64_t kMaxLabels = 1 << 20;
  const ConfigReader names = config.object("id2label");
  const auto num_named = static_cast<int64_t>(names.json().size());
  const int64_t num_labels = num_named > 0 ? num_named : config.positive_int("num_labels", 2);
  if (num_labels > kMaxLabels) {
    config.fail("num_labels", "more than " + std::to_string(kMaxLabels));
    return {};
  }
  std::vector<std::string> labels;
  for (int64_t i = 0; i < num_labels; ++i) {
    std::string label = "LABEL_" + std::to_string(i);
    if (num_named > 0) {
      const auto name = names.json().find(std::to_string(i));
      if (name == names.json().end() || !name->is_string()) {
        config.fail("id2label", "expected a name for each of 0 to " + std::to_string(num_labels - 1));
        return {};
      }
      label = name->get<std::string>();
    }
    labels.push_back(std::move(label));
  }
  return labels;
}

// sentence-transformers keeps in config.json what function a cross-encoder's score is of its logit.
bool read_probability_score(ConfigReader& config) {
  const std::string function = config.has("sentence_transformers")
                                   ? config.object("sentence_transformers").text("activation_fn", "")
                                   : config.text("sbert_ce_default_activation_function", "");
  return !function.ends_with("Identity");
}

}  // namespace

ModelSpec read_bert_like_spec(ConfigReader& config) {
  ModelSpec spec;
  spec.is_causal = false;
  spec.block = BlockKind::kPostNorm;
  spec.norm = NormKind::kLayerNorm;
  spec.norm_eps = 1e-12f;
  spec.embedding_norm = true;
  spec.final_norm = false;
  spec.position = PositionKind::kLearned;
  spec.qkv_bias = spec.attn_out_bias = spec.mlp_bias = true;
  spec.head = read_head(config);
  if (spec.head == HeadKind::kSequenceLabels || spec.head == HeadKind::kTokenLabels) spec.labels = read_labels(config);
  spec.has_probability_score = read_probability_score(config);
  spec.tied_embeddings = config.boolean("tie_word_embeddings", true);
  if (config.boolean("is_decoder", false)) config.fail("is_decoder", "true is not supported");
  return spec;
}

void read_bert_sizes(ConfigReader& config, ModelSpec& spec) {
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("hidden_size");
  spec.num_layers = config.positive_int("num_hidden_layers");
  spec.num_heads = config.positive_int("num_attention_heads");
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = read_divided(config, "hidden_size", spec.hidden, "num_attention_heads", spec.num_heads);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.ffn = config.positive_int("intermediate_size");
  spec.max_position = config.positive_int("max_position_embeddings");
  spec.num_token_types = config.positive_int("type_vocab_size", 2);
  spec.norm_eps = static_cast<float>(config.positive_number("layer_norm_eps", 1e-12));
  spec.activation = read_activation(config, "hidden_act", "gelu");
  if (const std::string kind = config.text("position_embedding_type", "absolute"); kind != "absolute") {
    config.fail("position_embedding_type", "\"" + kind + "\" is not supported; expected \"absolute\"");
  }
}

WeightMap bert_like_weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  const std::string embeddings = "embeddings.";
  WeightMap map;
  map.embedding = {embeddings + "word_embeddings.weight", Shape{spec.vocab, hidden}};
  map.position_embedding = {embeddings + "position_embeddings.weight",
                            Shape{spec.position_offset + spec.max_position, hidden}};
  map.token_type_embedding = {embeddings + "token_type_embeddings.weight", Shape{spec.num_token_types, hidden}};
  map.embedding_norm = norm_map(embeddings + "LayerNorm", hidden, true);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "encoder.layer." + std::to_string(i) + ".";
    const std::string attention = layer + "attention.";
    map.layers.push_back({
        .attn_norm = norm_map(attention + "output.LayerNorm", hidden, true),
        .qkv = linear_map(attention + "self.", {{"query", hidden}, {"key", hidden}, {"value", hidden}}, hidden, true),
        .attn_out = linear_map(attention + "output.", {{"dense", hidden}}, hidden, true),
        .mlp_norm = norm_map(layer + "output.LayerNorm", hidden, true),
        .up = linear_map(layer + "intermediate.", {{"dense", spec.ffn}}, hidden, true),
        .down = linear_map(layer + "output.", {{"dense", hidden}}, spec.ffn, true),
    });
  }
  if (spec.has_pooler) map.pooler = linear_map("pooler.", {{"dense", hidden}}, hidden, true);
  // A base model's checkpoint may have been one with a head, and the other way around.
  map.ignorable = {"*embeddings.position_ids", "*pooler.dense.*"};
  return map;
}

}  // namespace cohort
