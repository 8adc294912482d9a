// DistilBERT (Sanh et al. 2019, "DistilBERT, a distilled version of BERT"): without token types and pooler.
#include <cmath>

#include "runtime/models/bert_like.h"
#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

constexpr std::string_view kOtherArchitectures[] = {"DistilBertForSequenceClassification",
                                                    "DistilBertForTokenClassification", "DistilBertForMaskedLM"};

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_bert_like_spec(config);
  spec.vocab = config.positive_int("vocab_size");
  spec.hidden = config.positive_int("dim");
  spec.num_layers = config.positive_int("n_layers");
  spec.num_heads = config.positive_int("n_heads");
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = read_divided(config, "dim", spec.hidden, "n_heads", spec.num_heads);
  spec.attention_scale = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  spec.ffn = config.positive_int("hidden_dim");
  spec.max_position = config.positive_int("max_position_embeddings");
  spec.activation = read_activation(config, "activation", "gelu");
  if (spec.head == HeadKind::kSequenceLabels) {
    spec.head_transform = true;
    spec.head_activation = Activation::kRelu;
  } else if (spec.head == HeadKind::kMaskedToken) {
    spec.head_transform = spec.head_transform_norm = spec.head_bias = true;
    spec.head_activation = spec.activation;
  }
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  WeightMap map;
  map.embedding = {"embeddings.word_embeddings.weight", Shape{spec.vocab, hidden}};
  map.position_embedding = {"embeddings.position_embeddings.weight", Shape{spec.max_position, hidden}};
  map.embedding_norm = norm_map("embeddings.LayerNorm", hidden, true);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string layer = "transformer.layer." + std::to_string(i) + ".";
    const std::string attention = layer + "attention.";
    map.layers.push_back({
        .attn_norm = norm_map(layer + "sa_layer_norm", hidden, true),
        .qkv = linear_map(attention, {{"q_lin", hidden}, {"k_lin", hidden}, {"v_lin", hidden}}, hidden, true),
        .attn_out = linear_map(attention, {{"out_lin", hidden}}, hidden, true),
        .mlp_norm = norm_map(layer + "output_layer_norm", hidden, true),
        .up = linear_map(layer + "ffn.", {{"lin1", spec.ffn}}, hidden, true),
        .down = linear_map(layer + "ffn.", {{"lin2", hidden}}, spec.ffn, true),
    });
  }
  if (spec.head == HeadKind::kMaskedToken) {
    map.head_transform = linear_map("", {{"vocab_transform", hidden}}, hidden, true);
    map.head_transform_norm = norm_map("vocab_layer_norm", hidden, true);
    map.head_bias = {"vocab_projector.bias", Shape{spec.vocab}};
    if (!spec.tied_embeddings) map.head = {"vocab_projector.weight", Shape{spec.vocab, hidden}};
  } else if (spec.head == HeadKind::kSequenceLabels) {
    map.head_transform = linear_map("", {{"pre_classifier", hidden}}, hidden, true);
  }
  if (!spec.labels.empty()) {
    map.label_head = linear_map("", {{"classifier", static_cast<int64_t>(spec.labels.size())}}, hidden, true);
  }
  map.ignorable = {"*embeddings.position_ids", "vocab_*"};
  return map;
}

}  // namespace

const Family kDistilBertFamily = {
    .model_type = "distilbert",
    .architecture = "DistilBertModel",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "distilbert.",
    .other_architectures = kOtherArchitectures,
};

}  // namespace cohort
