// CrossAttention: the attention of a decoder's tokens to what an encoder made of their sources, whose keys and values
// are in the cache, in blocks of their own; or this shard's heads of it.
#pragma once

#include "kernels/kv/kv_cache.h"
#include "runtime/layers/batch.h"
#include "runtime/layers/linear.h"
#include "runtime/layers/probe.h"
#include "runtime/layers/workspace.h"

namespace cohort {

class CrossAttention {
 public:
  static Result<CrossAttention> load(const LoadContext& context, const CrossAttentionMap& map);

  // Adds the keys and values of `encoded` [num_tokens, hidden], the tokens of `sources`, to `cache`.
  void cache_sources(ConstTensorView encoded, const BatchView& sources, KvCacheView cache, Workspace& workspace,
                     const Probe& probe, Stream& stream) const;

  // The output [num_tokens, hidden] from x [num_tokens, hidden], in `out`, as a sum over the shards of `comm`, which is
  // null for one. Reads what cache_sources() wrote; on CUDA there must be work that is no kernel behind that, see
  // AttentionBatch.
  ShardedSum forward(TensorView out, ConstTensorView x, const BatchView& batch, KvCacheView cache, Workspace& workspace,
                     DeviceComm* comm, const Probe& probe, Stream& stream) const;

  int64_t num_bytes() const { return q_.num_bytes() + kv_.num_bytes() + out_.num_bytes(); }

 private:
  int64_t local_num_heads_ = 0;
  int64_t local_num_kv_heads_ = 0;
  int64_t head_dim_ = 0;
  AttentionParams params_;
  Linear q_;
  Linear kv_;
  Linear out_;
};

}  // namespace cohort
