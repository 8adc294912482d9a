// Norm: RMSNorm or LayerNorm with its weights, alone or fused with the residual addition before it.
#pragma once

#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "parallel/tensor/row_parallel.h"
#include "runtime/layers/load_context.h"
#include "runtime/models/weight_map.h"

namespace cohort {

class Norm {
 public:
  static Result<Norm> load(const LoadContext& context, const NormMap& map);

  // out = norm(x); all [num_tokens, hidden]
  void forward(TensorView out, ConstTensorView x, Stream& stream) const;
  // residual += delta, unless that is empty; out = norm(residual), on every shard
  void forward_add(TensorView out, TensorView residual, const ShardedSum& delta, Stream& stream) const;

 private:
  NormKind kind_ = NormKind::kRmsNorm;
  float eps_ = 0;
  Tensor weight_;  // [hidden] float32
  Tensor bias_;    // [hidden] float32, or empty
};

// The weights of a norm, float32, with ModelSpec::norm_weight_offset.
Result<Tensor> load_norm_weight(const LoadContext& context, const TensorRef& ref);

}  // namespace cohort
