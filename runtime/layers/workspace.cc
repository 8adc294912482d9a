#include "runtime/layers/workspace.h"

#include "kernels/attention/attention.h"

namespace cohort {

Workspace::Workspace(const ModelSpec& spec, const ModelShard& shard, DType dtype, int64_t max_tokens,
                     int64_t max_logit_rows, Device device) {
  const int64_t local_heads = shard.heads.size() + 2 * shard.kv_heads.size();
  const int64_t local_ffn = shard.ffn.size();
  const auto tensor = [&](DType type, int64_t rows, int64_t columns) {
    return Tensor(type, Shape{rows, columns}, device);
  };
  residual = tensor(dtype, max_tokens, spec.hidden);
  delta = tensor(dtype, max_tokens, spec.hidden);
  normed = tensor(dtype, max_tokens, spec.hidden);
  qkv = tensor(dtype, max_tokens, local_heads * spec.head_dim);
  context = tensor(dtype, max_tokens, shard.heads.size() * spec.head_dim);
  up = tensor(dtype, max_tokens, spec.gated_mlp ? 2 * local_ffn : local_ffn);
  activated = tensor(dtype, max_tokens, local_ffn);

  const bool is_split = shard.num_shards > 1;
  const int64_t rows = shard.is_last_stage ? max_logit_rows : 0;
  const int64_t sampled_rows = shard.shard == 0 ? rows : 0;
  logit_inputs = tensor(dtype, rows, spec.hidden);
  logits = tensor(DType::kF32, sampled_rows, spec.vocab);
  local_logits = tensor(DType::kF32, is_split ? rows : 0, shard.vocab.size());
  logit_parts = tensor(DType::kF32, is_split ? sampled_rows : 0, shard.vocab.size());
  if (is_split) reduction = ReductionWorkspace(max_tokens, spec.hidden, device);
  if (device.kind == DeviceKind::kCuda) {  // no step has more sequences than rows of logits
    const int64_t num_bytes =
        attention_workspace_bytes(max_logit_rows, spec.max_position, shard.heads.size(), spec.head_dim);
    attention = Tensor(DType::kU8, Shape{num_bytes}, device);
  }
}

int64_t Workspace::num_bytes() const {
  int64_t total = reduction.num_bytes();
  for (const Tensor* t : {&residual, &delta, &normed, &qkv, &context, &up, &activated, &logit_inputs, &local_logits,
                          &logits, &logit_parts, &attention}) {
    total += (*t)->num_bytes();
  }
  return total;
}

}  // namespace cohort
