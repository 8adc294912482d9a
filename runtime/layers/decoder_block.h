// DecoderBlock: one layer. How its attention and its MLP meet the residual stream is the model's BlockKind.
#pragma once

#include "runtime/layers/attention.h"
#include "runtime/layers/cross_attention.h"
#include "runtime/layers/mlp.h"
#include "runtime/layers/moe.h"
#include "runtime/layers/norm.h"

namespace cohort {

class DecoderBlock {
 public:
  // Of layer `layer` of a stack, counted over all stages.
  static Result<DecoderBlock> load(const LoadContext& context, const LayerMap& map, int64_t layer);

  // Adds `delta`, which the block before left, to workspace.residual, and makes what the block reads.
  void enter(const ShardedSum& delta, int64_t num_tokens, Workspace& workspace, const Probe& probe,
             Stream& stream) const;

  // Requires enter(). Returns what is yet to be added to workspace.residual, in workspace.delta, so that the next norm
  // can do it; nothing, if the block ends with a norm.
  ShardedSum forward(const BatchView& batch, KvCacheView cache, Workspace& workspace, DeviceComm* comm,
                     const Probe& probe, Stream& stream) const;

  // What the block's attention to sources reads of them, from `encoded` [num_tokens, hidden], goes to `cache`; for
  // models that have sources.
  void cache_sources(ConstTensorView encoded, const BatchView& sources, KvCacheView cache, Workspace& workspace,
                     const Probe& probe, Stream& stream) const {
    cross_attention_->cache_sources(encoded, sources, cache, workspace, probe, stream);
  }

  int64_t num_bytes() const {
    return attention_.num_bytes() + (cross_attention_ ? cross_attention_->num_bytes() : 0) + mlp_.num_bytes() +
           moe_.num_bytes();
  }

 private:
  struct Step;  // what a forward pass works on

  ShardedSum attend(TensorView out, ConstTensorView x, const Step& step) const;
  ShardedSum feed_forward(TensorView out, ConstTensorView x, const Step& step) const;
  ShardedSum pre_norm(const Step& step) const;
  ShardedSum post_norm(const Step& step) const;
  ShardedSum sandwich(const Step& step) const;
  ShardedSum parallel(const Step& step) const;

  BlockKind kind_ = BlockKind::kPreNorm;
  bool shares_norm_ = false;
  bool has_experts_ = false;
  Norm attn_norm_;
  Attention attention_;
  Norm attn_post_norm_;
  Norm cross_norm_;  // with cross_attention_
  std::optional<CrossAttention> cross_attention_;
  Norm mlp_norm_;
  Mlp mlp_;
  Moe moe_;  // in its place where there are experts
  Norm mlp_post_norm_;
};

}  // namespace cohort
