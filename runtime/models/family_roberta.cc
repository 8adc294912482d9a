// RoBERTa (Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach"), and XLM-RoBERTa (Conneau et al.
// 2020, "Unsupervised Cross-lingual Representation Learning at Scale"), which differs in its vocabulary.
#include "runtime/models/bert_like.h"
#include "runtime/models/family.h"
#include "runtime/models/weight_names.h"

namespace cohort {
namespace {

constexpr std::string_view kOtherArchitectures[] = {"RobertaForSequenceClassification", "RobertaForTokenClassification",
                                                    "RobertaForMaskedLM"};
constexpr std::string_view kOtherXlmArchitectures[] = {"XLMRobertaForSequenceClassification",
                                                       "XLMRobertaForTokenClassification", "XLMRobertaForMaskedLM"};

ModelSpec read_spec(ConfigReader& config) {
  ModelSpec spec = read_bert_like_spec(config);
  read_bert_sizes(config, spec);
  // Positions begin behind the id of its padding token, and max_position_embeddings counts the rows before them too.
  spec.position_offset = int64_t{config.int32("pad_token_id", 1)} + 1;
  if (spec.position_offset < 1 || spec.position_offset >= spec.max_position) {
    config.fail("pad_token_id", "expected a row of the table of positions");
    return spec;
  }
  spec.max_position -= spec.position_offset;
  spec.has_pooler = spec.head == HeadKind::kNone;
  spec.head_transform = spec.head == HeadKind::kSequenceLabels || spec.head == HeadKind::kMaskedToken;
  if (spec.head == HeadKind::kMaskedToken) {
    spec.head_activation = Activation::kGelu;
    spec.head_transform_norm = spec.head_bias = true;
  }
  return spec;
}

WeightMap weight_map(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  const auto num_labels = static_cast<int64_t>(spec.labels.size());
  WeightMap map = bert_like_weight_map(spec);
  if (spec.head == HeadKind::kMaskedToken) {
    map.head_transform = linear_map("lm_head.", {{"dense", hidden}}, hidden, true);
    map.head_transform_norm = norm_map("lm_head.layer_norm", hidden, true);
    map.head_bias = {"lm_head.bias", Shape{spec.vocab}};
    if (!spec.tied_embeddings) map.head = {"lm_head.decoder.weight", Shape{spec.vocab, hidden}};
  } else if (spec.head == HeadKind::kSequenceLabels) {
    map.head_transform = linear_map("classifier.", {{"dense", hidden}}, hidden, true);
    map.label_head = linear_map("classifier.", {{"out_proj", num_labels}}, hidden, true);
  } else if (spec.head == HeadKind::kTokenLabels) {
    map.label_head = linear_map("", {{"classifier", num_labels}}, hidden, true);
  }
  map.ignorable.push_back("lm_head.*");
  return map;
}

}  // namespace

const Family kRobertaFamily = {
    .model_type = "roberta",
    .architecture = "RobertaModel",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "roberta.",
    .other_architectures = kOtherArchitectures,
};

const Family kXlmRobertaFamily = {
    .model_type = "xlm-roberta",
    .architecture = "XLMRobertaModel",
    .read_spec = read_spec,
    .weight_map = weight_map,
    .base_prefix = "roberta.",
    .other_architectures = kOtherXlmArchitectures,
};

}  // namespace cohort
