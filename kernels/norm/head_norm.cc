#include "kernels/norm/head_norm.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/norm/head_norm_backends.h"

namespace cohort {
namespace {

void check_heads(const ConstTensorView& x, const ConstTensorView& weight, const Stream& stream) {
  if (x.empty()) return;
  COHORT_CHECK(x.rank() == 3, x.shape().to_string());
  COHORT_CHECK(weight.rank() == 1 && weight.dim(0) == x.dim(2) && weight.dtype() == DType::kF32,
               "weight " + weight.shape().to_string() + ", x " + x.shape().to_string());
  COHORT_CHECK(x.device() == stream.device() && weight.device() == stream.device(),
               "x " + to_string(x.device()) + ", weight " + to_string(weight.device()));
}

}  // namespace

void head_rms_norm(TensorView q, TensorView k, ConstTensorView q_weight, ConstTensorView k_weight, float eps,
                   Stream& stream) {
  check_heads(q, q_weight, stream);
  check_heads(k, k_weight, stream);
  COHORT_CHECK(q.empty() || k.empty() || (q.dtype() == k.dtype() && q.dim(0) == k.dim(0) && q.dim(2) == k.dim(2)),
               "q " + q.shape().to_string() + ", k " + k.shape().to_string());
  if (q.empty() && k.empty()) return;
  const bool is_cuda = stream.device().kind == DeviceKind::kCuda;
  (is_cuda ? cuda::head_rms_norm : cpu::head_rms_norm)(q, k, q_weight, k_weight, eps, stream);
}

}  // namespace cohort
