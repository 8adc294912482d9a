// BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding").
#include "runtime/models/bert_like.h"
#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

constexpr std::string_view kOtherArchitectures[] = {"BertForSequenceClassification", "BertForTokenClassification",
                                                    "BertForMaskedLM", "BertForPreTraining"};

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_bert_like_spec(config);
  read_bert_sizes(config, spec);
  spec.has_pooler = spec.head == HeadKind::kNone || spec.head == HeadKind::kSequenceLabels;
  if (spec.head == HeadKind::kMaskedToken) {
    spec.head_transform = spec.head_transform_norm = spec.head_bias = true;
    spec.head_activation = spec.activation;
  }
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  WeightMap map = bert_like_weight_map(spec);
  const std::string predictions = "cls.predictions.";
  if (spec.head == HeadKind::kMaskedToken) {
    map.head_transform = linear_map(predictions + "transform.", {{"dense", spec.hidden}}, spec.hidden, true);
    map.head_transform_norm = norm_map(predictions + "transform.LayerNorm", spec.hidden, true);
    map.head_bias = {predictions + "bias", Shape{spec.vocab}};
    if (!spec.tied_embeddings) map.head = {predictions + "decoder.weight", Shape{spec.vocab, spec.hidden}};
  }
  if (!spec.labels.empty()) {
    map.label_head = linear_map("", {{"classifier", static_cast<int64_t>(spec.labels.size())}}, spec.hidden, true);
  }
  map.ignorable.push_back("cls.*");
  return map;
}

}  // namespace

const Family kBertFamily = {
    .model_type = "bert",
    .architecture = "BertModel",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "bert.",
    .other_architectures = kOtherArchitectures,
};

}  // namespace cohort
