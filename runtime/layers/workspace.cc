#include "runtime/layers/workspace.h"

#include <vector>

#include "kernels/attention/attention.h"

namespace cohort {

MoeShape moe_shape(const ModelSpec& spec, const ModelShard& shard) {
  return {.hidden = spec.hidden,
          .ffn = spec.ffn,
          .num_experts = spec.num_experts,
          .experts_per_token = spec.experts_per_token,
          .first_expert = shard.experts.begin,
          .num_local_experts = shard.experts.size()};
}

namespace {

struct Part {
  Tensor Workspace::*tensor;
  DType dtype;
  Shape shape;
};

// Every tensor that a workspace of these sizes has, but for the reduction's.
std::vector<Part> parts_of(const ModelSpec& spec, const ModelShard& shard, DType dtype, int64_t max_tokens,
                           int64_t max_logit_rows, Device device) {
  const int64_t local_heads = shard.heads.size() + 2 * shard.kv_heads.size();
  const int64_t local_ffn = spec.num_experts > 0 ? 0 : shard.ffn.size();
  const bool is_split = shard.num_shards > 1 && spec.labels.empty();
  const int64_t rows = shard.is_last_stage ? max_logit_rows : 0;
  const int64_t sampled_rows = shard.shard == 0 ? rows : 0;
  const bool is_parallel = spec.block == BlockKind::kParallel;
  const bool projects = spec.embedding_dim != spec.hidden;
  std::vector<Part> parts = {
      {&Workspace::residual, dtype, {max_tokens, spec.hidden}},
      {&Workspace::delta, dtype, {max_tokens, spec.hidden}},
      {&Workspace::normed, dtype, {max_tokens, spec.hidden}},
      {&Workspace::mlp_delta, dtype, {is_parallel ? max_tokens : 0, spec.hidden}},
      {&Workspace::embedding, dtype, {projects && shard.has_embedding() ? max_tokens : 0, spec.embedding_dim}},
      {&Workspace::qkv, dtype, {max_tokens, local_heads * spec.head_dim}},
      {&Workspace::context, dtype, {max_tokens, shard.heads.size() * spec.head_dim}},
      {&Workspace::up, dtype, {max_tokens, spec.gated_mlp ? 2 * local_ffn : local_ffn}},
      {&Workspace::activated, dtype, {max_tokens, local_ffn}},
      {&Workspace::router_logits, DType::kF32, {spec.num_experts > 0 ? max_tokens : 0, spec.num_experts}},
      {&Workspace::logit_inputs, dtype, {rows, spec.hidden}},
      {&Workspace::logit_embedding, dtype, {projects ? rows : 0, spec.embedding_dim}},
      {&Workspace::pooled, dtype, {spec.has_pooler ? rows : 0, spec.hidden}},
      {&Workspace::transformed, dtype, {spec.head_transform ? rows : 0, spec.hidden}},
      {&Workspace::logits, DType::kF32, {sampled_rows, num_logits(spec)}},
      {&Workspace::local_logits, DType::kF32, {is_split ? rows : 0, shard.vocab.size()}},
      {&Workspace::logit_parts, DType::kF32, {is_split ? sampled_rows : 0, shard.vocab.size()}},
  };
  if (device.kind == DeviceKind::kCuda) {  // no step has more sequences than rows of logits
    const int64_t num_bytes =
        attention_workspace_bytes(max_logit_rows, spec.max_position, shard.heads.size(), spec.head_dim);
    parts.push_back({&Workspace::attention, DType::kU8, {num_bytes}});
  }
  return parts;
}

}  // namespace

Workspace::Workspace(const ModelSpec& spec, const ModelShard& shard, DType dtype, int64_t max_tokens,
                     int64_t max_logit_rows, Device device) {
  for (const Part& part : parts_of(spec, shard, dtype, max_tokens, max_logit_rows, device)) {
    this->*part.tensor = Tensor(part.dtype, part.shape, device);
  }
  if (shard.num_shards > 1) reduction = ReductionWorkspace(max_tokens, spec.hidden, device);
  if (spec.num_experts > 0) moe = MoeWorkspace(moe_shape(spec, shard), dtype, max_tokens, device);
}

int64_t Workspace::num_bytes_for(const ModelSpec& spec, const ModelShard& shard, DType dtype, int64_t max_tokens,
                                 int64_t max_logit_rows, Device device) {
  int64_t total = shard.num_shards > 1 ? ReductionWorkspace::num_bytes_for(max_tokens, spec.hidden) : 0;
  if (spec.num_experts > 0) total += MoeWorkspace::num_bytes_for(moe_shape(spec, shard), dtype, max_tokens, device);
  for (const Part& part : parts_of(spec, shard, dtype, max_tokens, max_logit_rows, device)) {
    total += dtype_bytes(part.dtype, part.shape.num_elements());
  }
  return total;
}

}  // namespace cohort
