// What BERT and the encoders that took over its blocks have in common. Their families say what differs.
#pragma once

#include "runtime/models/config_reader.h"
#include "runtime/models/model_spec.h"
#include "runtime/models/weight_map.h"

namespace cohort {

// Post-norm blocks whose tokens see each other, learned positions, a norm of the embedding, biases everywhere; and the
// head that `architectures` names. Sizes are left to the family.
ModelSpec read_bert_like_spec(ConfigReader& config);

// BERT's and RoBERTa's sizes, by the names that both have in config.json.
void read_bert_sizes(ConfigReader& config, ModelSpec& spec);

// The base model as BERT and RoBERTa name it; no head.
WeightMap bert_like_weight_map(const ModelSpec& spec);

}  // namespace cohort
