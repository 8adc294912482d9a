// DecoderBlock: one layer, pre-norm: x += attention(norm(x)); x += mlp(norm(x)).
#pragma once

#include "runtime/layers/attention.h"
#include "runtime/layers/mlp.h"
#include "runtime/layers/norm.h"

namespace cohort {

class DecoderBlock {
 public:
  static Result<DecoderBlock> load(const ModelSpec& spec, const ModelShard& shard, const LayerMap& map,
                                   const Arithmetic& arithmetic, WeightSource& source, Stream& stream);

  // Requires workspace.normed = attn_norm of the residual stream. Adds the attention to workspace.residual and returns
  // the MLP's output, in workspace.delta, for the next norm to add.
  ShardedSum forward(const BatchView& batch, KvCacheView cache, Workspace& workspace, DeviceComm* comm,
                     const Probe& probe, Stream& stream) const;

  const Norm& attn_norm() const { return attn_norm_; }
  int64_t num_bytes() const { return attention_.num_bytes() + mlp_.num_bytes(); }

 private:
  Norm attn_norm_;
  Attention attention_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace cohort
