// Mlp: the feed-forward half of a block, plain or gated, or this shard's part of it: `up` is split by outputs, `down`
// by inputs.
#pragma once

#include "runtime/layers/linear.h"
#include "runtime/layers/workspace.h"

namespace cohort {

class Mlp {
 public:
  static Result<Mlp> load(const LoadContext& context, const LayerMap& map);

  // The output [num_tokens, hidden] from x [num_tokens, hidden], in `out`, as a sum over the shards of `comm`, which is
  // null for one.
  ShardedSum forward(TensorView out, ConstTensorView x, Workspace& workspace, DeviceComm* comm, Stream& stream) const;

  int64_t num_bytes() const { return up_.num_bytes() + down_.num_bytes(); }

 private:
  Activation activation_ = Activation::kSilu;
  bool is_gated_ = false;
  Linear up_;
  Linear down_;
};

}  // namespace cohort
