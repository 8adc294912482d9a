#include "runtime/layers/norm.h"

#include <algorithm>

#include "kernels/elementwise/elementwise.h"
#include "kernels/norm/norm.h"
#include "parallel/tensor/all_reduce_norm.h"
#include "runtime/layers/load_tensor.h"

namespace cohort {

Result<Norm> Norm::load(const LoadContext& context, const NormMap& map) {
  Norm norm;
  norm.kind_ = context.spec.norm;
  norm.eps_ = context.spec.norm_eps;
  COHORT_ASSIGN_OR_RETURN(norm.weight_, load_norm_weight(context, map.weight));
  if (map.bias) {
    COHORT_ASSIGN_OR_RETURN(norm.bias_, load_tensor(context, *map.bias, DType::kF32));
  }
  return norm;
}

Result<Tensor> load_norm_weight(const LoadContext& context, const TensorRef& ref) {
  COHORT_ASSIGN_OR_RETURN(Tensor weight, load_tensor(context, ref, DType::kF32));
  if (context.spec.norm_weight_offset == 0) return weight;
  COHORT_RETURN_IF_ERROR(context.source.wait());
  Tensor offsets(DType::kF32, weight->shape(), kCpuDevice);
  std::fill_n(offsets->data<float>(), offsets->num_elements(), context.spec.norm_weight_offset);
  offsets = move_to(std::move(offsets), context.device());
  add(weight, offsets, context.stream);
  context.stream.synchronize();  // the offsets may go
  return weight;
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
  if (delta.value.empty()) return forward(out, residual, stream);
  const NormWeights weights{kind_ == NormKind::kLayerNorm, weight_, bias_, eps_};
  all_reduce_add_norm(out, residual, delta, weights, stream);
}

}  // namespace cohort
