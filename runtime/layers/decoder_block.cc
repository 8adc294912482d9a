#include "runtime/layers/decoder_block.h"

#include "kernels/elementwise/elementwise.h"

namespace cohort {

// The parts of the workspace that hold the step's tokens, all [num_tokens, hidden], and what the sublayers are given.
struct DecoderBlock::Step {
  const BatchView& batch;
  const KvCacheView& cache;
  Workspace& workspace;
  DeviceComm* comm;
  const Probe& probe;
  Stream& stream;
  TensorView residual;
  TensorView delta;
  TensorView normed;
};

Result<DecoderBlock> DecoderBlock::load(const LoadContext& context, const LayerMap& map, int64_t layer) {
  DecoderBlock block;
  block.kind_ = context.spec.block;
  block.shares_norm_ = context.spec.shares_norm;
  COHORT_ASSIGN_OR_RETURN(block.attn_norm_, Norm::load(context, map.attn_norm));
  COHORT_ASSIGN_OR_RETURN(block.attention_, Attention::load(context, map, layer));
  if (map.cross) {
    COHORT_ASSIGN_OR_RETURN(block.cross_norm_, Norm::load(context, map.cross->norm));
    COHORT_ASSIGN_OR_RETURN(block.cross_attention_, CrossAttention::load(context, *map.cross));
  }
  if (!block.shares_norm_) {
    COHORT_ASSIGN_OR_RETURN(block.mlp_norm_, Norm::load(context, *map.mlp_norm));
  }
  block.has_experts_ = context.spec.num_experts > 0;
  if (block.has_experts_) {
    COHORT_ASSIGN_OR_RETURN(block.moe_, Moe::load(context, map));
  } else {
    COHORT_ASSIGN_OR_RETURN(block.mlp_, Mlp::load(context, map));
  }
  if (block.kind_ == BlockKind::kSandwich) {
    COHORT_ASSIGN_OR_RETURN(block.attn_post_norm_, Norm::load(context, *map.attn_post_norm));
    COHORT_ASSIGN_OR_RETURN(block.mlp_post_norm_, Norm::load(context, *map.mlp_post_norm));
  }
  return block;
}

void DecoderBlock::enter(const ShardedSum& delta, int64_t num_tokens, Workspace& workspace, const Probe& probe,
                         Stream& stream) const {
  if (kind_ == BlockKind::kPostNorm) return;  // it reads the residual stream, which is whole
  const TensorView normed = workspace.normed->slice(0, 0, num_tokens);
  attn_norm_.forward_add(normed, workspace.residual->slice(0, 0, num_tokens), delta, stream);
  probe("attn_norm", normed);
}

ShardedSum DecoderBlock::forward(const BatchView& batch, KvCacheView cache, Workspace& workspace, DeviceComm* comm,
                                 const Probe& probe, Stream& stream) const {
  const int64_t num_tokens = batch.num_tokens();
  const Step step{.batch = batch,
                  .cache = cache,
                  .workspace = workspace,
                  .comm = comm,
                  .probe = probe,
                  .stream = stream,
                  .residual = workspace.residual->slice(0, 0, num_tokens),
                  .delta = workspace.delta->slice(0, 0, num_tokens),
                  .normed = workspace.normed->slice(0, 0, num_tokens)};
  switch (kind_) {
    case BlockKind::kPostNorm:
      return post_norm(step);
    case BlockKind::kSandwich:
      return sandwich(step);
    case BlockKind::kParallel:
      return parallel(step);
    default:
      return pre_norm(step);
  }
}

ShardedSum DecoderBlock::attend(TensorView out, ConstTensorView x, const Step& step) const {
  ShardedSum sum =
      attention_.forward(out, x, step.batch, step.cache, step.workspace, step.comm, step.probe, step.stream);
  step.probe("attn_out", sum, step.stream);
  return sum;
}

ShardedSum DecoderBlock::feed_forward(TensorView out, ConstTensorView x, const Step& step) const {
  ShardedSum sum = has_experts_ ? moe_.forward(out, x, step.workspace, step.comm, step.stream)
                                : mlp_.forward(out, x, step.workspace, step.comm, step.stream);
  step.probe("mlp_out", sum, step.stream);
  return sum;
}

ShardedSum DecoderBlock::pre_norm(const Step& step) const {
  ShardedSum attn_out = attend(step.delta, step.normed, step);
  if (cross_attention_) {
    cross_norm_.forward_add(step.normed, step.residual, attn_out, step.stream);
    step.probe("cross_norm", step.normed);
    attn_out = cross_attention_->forward(step.delta, step.normed, step.batch, step.cache, step.workspace, step.comm,
                                         step.probe, step.stream);
    step.probe("cross_out", attn_out, step.stream);
  }
  mlp_norm_.forward_add(step.normed, step.residual, attn_out, step.stream);
  step.probe("mlp_norm", step.normed);
  return feed_forward(step.delta, step.normed, step);
}

// The stream goes from workspace.residual to workspace.normed and back.
ShardedSum DecoderBlock::post_norm(const Step& step) const {
  const ShardedSum attn_out = attend(step.delta, step.residual, step);
  attn_norm_.forward_add(step.normed, step.residual, attn_out, step.stream);
  step.probe("attn_norm", step.normed);
  const ShardedSum mlp_out = feed_forward(step.delta, step.normed, step);
  mlp_norm_.forward_add(step.residual, step.normed, mlp_out, step.stream);
  return {};
}

ShardedSum DecoderBlock::sandwich(const Step& step) const {
  const auto normalize = [&](const Norm& norm, ShardedSum sum) {
    sum.complete(step.stream);
    norm.forward(sum.value, sum.value, step.stream);
    return sum;
  };
  const ShardedSum attn_out = normalize(attn_post_norm_, attend(step.delta, step.normed, step));
  mlp_norm_.forward_add(step.normed, step.residual, attn_out, step.stream);
  step.probe("mlp_norm", step.normed);
  return normalize(mlp_post_norm_, feed_forward(step.delta, step.normed, step));
}

// One sum over the shards for both sublayers, where each shard has its terms of them.
ShardedSum DecoderBlock::parallel(const Step& step) const {
  const ShardedSum attn_out = attend(step.delta, step.normed, step);
  if (!shares_norm_) mlp_norm_.forward(step.normed, step.residual, step.stream);
  const TensorView mlp_delta = step.workspace.mlp_delta->slice(0, 0, step.batch.num_tokens());
  const ShardedSum mlp_out = feed_forward(mlp_delta, step.normed, step);
  add(attn_out.value, mlp_out.value, step.stream);
  return attn_out;
}

}  // namespace cohort
