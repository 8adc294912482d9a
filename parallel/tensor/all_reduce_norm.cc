#include "parallel/tensor/all_reduce_norm.h"

#include "kernels/norm/norm.h"
#include "parallel/tensor/all_reduce_norm_kernel.h"

namespace cohort {
namespace {

void add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm, Stream& stream) {
  if (norm.is_layer_norm) return add_layer_norm(out, residual, x, norm.weight, norm.bias, norm.eps, stream);
  add_rms_norm(out, residual, x, norm.weight, norm.eps, stream);
}

bool has_vectors(ConstTensorView x) {
  constexpr uintptr_t kVecBytes = 16;
  return x.is_dense() && reinterpret_cast<uintptr_t>(x.data()) % kVecBytes == 0;
}

}  // namespace

void all_reduce_add_norm_by(const std::optional<AllReduceNormConfig>& config, TensorView out, TensorView residual,
                            const ShardedSum& delta, const NormWeights& norm, Stream& stream) {
  if (!config) {
    ShardedSum sum = delta;
    sum.complete(stream);
    return add_norm(out, residual, sum.value, norm, stream);
  }
  const FlightRecord record(delta.comm->recorder(), "all_reduce_norm", delta.comm->name().c_str(),
                            delta.value.num_bytes(), -1);
  cuda::all_reduce_add_norm(out, residual, delta.value, norm, *config, *delta.comm->mailbox(), stream);
}

void all_reduce_add_norm(TensorView out, TensorView residual, const ShardedSum& delta, const NormWeights& norm,
                         Stream& stream) {
  const TensorView& x = delta.value;
  COHORT_CHECK(out.shape() == x.shape() && residual.shape() == x.shape(), x.shape().to_string());
  COHORT_CHECK(out.dtype() == x.dtype() && residual.dtype() == x.dtype(), dtype_name(x.dtype()));
  COHORT_CHECK(norm.weight.dtype() == DType::kF32 && norm.weight.num_elements() == x.dim(1),
               norm.weight.shape().to_string());
  if (x.empty()) return;
  const Mailbox* const mailbox = delta.comm != nullptr ? delta.comm->mailbox() : nullptr;
  std::optional<AllReduceNormConfig> config;
  if (mailbox != nullptr && has_vectors(out) && has_vectors(residual) && has_vectors(x)) {
    config = choose_all_reduce_norm_config(x.dim(0), dtype_bytes(x.dtype(), x.dim(1)), *mailbox);
  }
  all_reduce_add_norm_by(config, out, residual, delta, norm, stream);
}

}  // namespace cohort
