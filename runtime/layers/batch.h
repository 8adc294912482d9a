// BatchView: the tokens of one step, as the ranks' device sees them.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/core/tensor.h"

namespace cohort {

// Ragged: the tokens of all sequences one after the other, sequence by sequence, without padding.
struct BatchView {
  ConstTensorView token_ids;     // [num_tokens] int32
  ConstTensorView positions;     // [num_tokens] int32
  ConstTensorView token_types;   // [num_tokens] int32; empty where the model has none
  ConstTensorView rope_lengths;  // [num_tokens] int32: max(prompt length, position + 1) of the token's sequence
  ConstTensorView slots;         // [num_tokens] int64: where keys and values go
  AttentionBatch attention;
  AttentionBatch source_attention;  // of models with sources: the same queries, and what is cached of the sources
  ConstTensorView logit_rows;       // [num_logit_rows] int32: the tokens that the head reads

  int64_t num_tokens() const { return token_ids.dim(0); }
  int64_t num_logit_rows() const { return logit_rows.dim(0); }
};

}  // namespace cohort
