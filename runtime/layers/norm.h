// Norm: RMSNorm or LayerNorm with its weights, alone or fused with the residual addition before it.
#pragma once

#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "parallel/tensor/row_parallel.h"
#include "runtime/models/model_spec.h"
#include "runtime/models/weight_map.h"
#include "runtime/weights/weight_source.h"

namespace cohort {

class Norm {
 public:
  static Result<Norm> load(const NormMap& map, NormKind kind, float eps, WeightSource& source, Device device);

  // out = norm(x); all [num_tokens, hidden]
  void forward(TensorView out, ConstTensorView x, Stream& stream) const;
  // residual += delta; out = norm(residual), on every shard
  void forward_add(TensorView out, TensorView residual, const ShardedSum& delta, Stream& stream) const;

 private:
  NormKind kind_ = NormKind::kRmsNorm;
  float eps_ = 0;
  Tensor weight_;  // [hidden] float32
  Tensor bias_;    // [hidden] float32, or empty
};

}  // namespace cohort
