// Moe: a mixture of experts in place of a block's MLP, or this shard's part of it: whole experts, of which each token
// goes to few. Every shard has the router and makes the same choices.
#pragma once

#include "kernels/moe/moe.h"
#include "runtime/layers/linear.h"
#include "runtime/layers/workspace.h"

namespace cohort {

class Moe {
 public:
  static Result<Moe> load(const LoadContext& context, const LayerMap& map);

  // The output [num_tokens, hidden] from x [num_tokens, hidden], in `out`, as a sum over the shards of `comm`, which is
  // null for one.
  ShardedSum forward(TensorView out, ConstTensorView x, Workspace& workspace, DeviceComm* comm, Stream& stream) const;

  int64_t num_bytes() const;

 private:
  bool norm_topk_ = false;
  Linear router_;
  ExpertWeights experts_;
};

}  // namespace cohort
