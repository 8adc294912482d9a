// Attention: fused qkv, positions, the cache, and the output product; or this shard's heads of it.
#pragma once

#include <optional>

#include "kernels/attention/attention.h"
#include "kernels/kv/kv_cache.h"
#include "runtime/layers/batch.h"
#include "runtime/layers/linear.h"
#include "runtime/layers/probe.h"
#include "runtime/layers/workspace.h"

namespace cohort {

class Attention {
 public:
  // Of layer `layer`, counted over all stages.
  static Result<Attention> load(const LoadContext& context, const LayerMap& map, int64_t layer);

  // The output [num_tokens, hidden] from x [num_tokens, hidden], in `out`, as a sum over the shards of `comm`, which is
  // null for one; the keys and values of the tokens and of this shard's heads are added to `cache`.
  ShardedSum forward(TensorView out, ConstTensorView x, const BatchView& batch, KvCacheView cache, Workspace& workspace,
                     DeviceComm* comm, const Probe& probe, Stream& stream) const;

  int64_t num_bytes() const { return qkv_.num_bytes() + out_.num_bytes(); }

 private:
  int64_t local_num_heads_ = 0;
  int64_t local_num_kv_heads_ = 0;
  int64_t head_dim_ = 0;
  AttentionParams params_;                 // borrows alibi_slopes_, and LoadContext::position_bias
  Tensor alibi_slopes_;                    // [local_num_heads] float32, or empty
  std::optional<RotaryEmbedding> rotary_;  // nothing with other positions
  Linear qkv_;
  float norm_eps_ = 0;
  Tensor q_norm_;  // [head_dim] float32, or empty, like k_norm_
  Tensor k_norm_;
  Linear out_;
};

}  // namespace cohort
