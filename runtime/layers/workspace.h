// Workspace: the activations of a step, made once for the largest step, so that nothing is allocated in one.
#pragma once

#include <cstdint>

#include "kernels/core/tensor.h"
#include "runtime/models/model_spec.h"

namespace cohort {

struct Workspace {
  Workspace(const ModelSpec& spec, DType dtype, int64_t max_tokens, int64_t max_logit_rows, Device device);

  Tensor residual;      // [max_tokens, hidden]: the residual stream
  Tensor delta;         // [max_tokens, hidden]: what the last sublayer adds to it
  Tensor normed;        // [max_tokens, hidden]
  Tensor qkv;           // [max_tokens, (num_heads + 2 num_kv_heads) * head_dim]
  Tensor context;       // [max_tokens, num_heads * head_dim]: what attention gathered
  Tensor up;            // [max_tokens, ffn or 2 ffn]
  Tensor activated;     // [max_tokens, ffn]
  Tensor logit_inputs;  // [max_logit_rows, hidden]
  Tensor logits;        // [max_logit_rows, vocab] float32

  int64_t num_bytes() const;
};

}  // namespace cohort
