// What `cohort encode` writes of an input: one line.
#pragma once

#include <string>

#include "runtime/decoding/request.h"
#include "runtime/models/model_spec.h"

namespace cohort {

// As JSON: {"input_ids", "logits", "label" or "labels"}, or of a model without logits {"input_ids",
// "last_hidden_state", "pooler_output", "embedding"}; matrices are lists of rows. Numbers are as short as tells them
// apart from every other float.
std::string encoding_json(const GenerationRequest& request, const Encoding& encoding, const ModelSpec& spec);

// For people: the label of a sequence and how probable it is, those of its tokens, or the embedding's numbers. Of a
// masked-token model the most probable token in place of each.
std::string encoding_text(const Encoding& encoding, const ModelSpec& spec);

}  // namespace cohort
