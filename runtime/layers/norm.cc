#include "runtime/layers/norm.h"

#include "kernels/norm/norm.h"
#include "parallel/tensor/all_reduce_norm.h"
#include "runtime/layers/load_tensor.h"

namespace cohort {

Result<Norm> Norm::load(const NormMap& map, NormKind kind, float eps, WeightSource& source, Device device) {
  Norm norm;
  norm.kind_ = kind;
  norm.eps_ = eps;
  COHORT_ASSIGN_OR_RETURN(norm.weight_, load_tensor(map.weight, DType::kF32, source, device));
  if (map.bias) {
    COHORT_ASSIGN_OR_RETURN(norm.bias_, load_tensor(*map.bias, DType::kF32, source, device));
  }
  return norm;
}

void Norm::forward(TensorView out, ConstTensorView x, Stream& stream) const {
  switch (kind_) {
    case NormKind::kRmsNorm:
      return rms_norm(out, x, weight_, eps_, stream);
    case NormKind::kLayerNorm:
      return layer_norm(out, x, weight_, bias_, eps_, stream);
  }
}

void Norm::forward_add(TensorView out, TensorView residual, const ShardedSum& delta, Stream& stream) const {
  const NormWeights weights{kind_ == NormKind::kLayerNorm, weight_, bias_, eps_};
  all_reduce_add_norm(out, residual, delta, weights, stream);
}

}  // namespace cohort
