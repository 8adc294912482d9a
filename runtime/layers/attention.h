// Attention: fused qkv, positions, the cache, and the output product; or this shard's heads of it.
#pragma once

#include <optional>

#include "kernels/kv/kv_cache.h"
#include "runtime/layers/batch.h"
#include "runtime/layers/linear.h"
#include "runtime/layers/probe.h"
#include "runtime/layers/workspace.h"

namespace cohort {

class Attention {
 public:
  static Result<Attention> load(const ModelSpec& spec, const ModelShard& shard, const LayerMap& map,
                                const Arithmetic& arithmetic, WeightSource& source, Stream& stream);

  // The output [num_tokens, hidden] from x [num_tokens, hidden], in `out`, as a sum over the shards of `comm`, which is
  // null for one; the keys and values of the tokens and of this shard's heads are added to `cache`.
  ShardedSum forward(TensorView out, ConstTensorView x, const BatchView& batch, KvCacheView cache, Workspace& workspace,
                     DeviceComm* comm, const Probe& probe, Stream& stream) const;

  int64_t num_bytes() const { return qkv_.num_bytes() + out_.num_bytes(); }

 private:
  int64_t local_num_heads_ = 0;
  int64_t local_num_kv_heads_ = 0;
  int64_t head_dim_ = 0;
  float scale_ = 1;
  bool deterministic_ = false;
  std::optional<RotaryEmbedding> rotary_;  // nothing with learned positions
  Linear qkv_;
  Linear out_;
};

}  // namespace cohort
