#include "runtime/layers/workspace.h"

namespace cohort {

Workspace::Workspace(const ModelSpec& spec, DType dtype, int64_t max_tokens, int64_t max_logit_rows, Device device)
    : residual(dtype, Shape{max_tokens, spec.hidden}, device),
      delta(dtype, Shape{max_tokens, spec.hidden}, device),
      normed(dtype, Shape{max_tokens, spec.hidden}, device),
      qkv(dtype, Shape{max_tokens, (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim}, device),
      context(dtype, Shape{max_tokens, spec.num_heads * spec.head_dim}, device),
      up(dtype, Shape{max_tokens, spec.gated_mlp ? 2 * spec.ffn : spec.ffn}, device),
      activated(dtype, Shape{max_tokens, spec.ffn}, device),
      logit_inputs(dtype, Shape{max_logit_rows, spec.hidden}, device),
      logits(DType::kF32, Shape{max_logit_rows, spec.vocab}, device) {}

int64_t Workspace::num_bytes() const {
  int64_t total = 0;
  for (const Tensor* t : {&residual, &delta, &normed, &qkv, &context, &up, &activated, &logit_inputs, &logits}) {
    total += (*t)->num_bytes();
  }
  return total;
}

}  // namespace cohort
