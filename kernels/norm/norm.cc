#include "kernels/norm/norm.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/norm/norm_backends.h"

namespace cohort {
namespace {

void check_rows(const TensorView& out, const ConstTensorView& x, const ConstTensorView& weight, const Stream& stream) {
  COHORT_CHECK(out.rank() == 2 && out.shape() == x.shape(),
               "out " + out.shape().to_string() + ", x " + x.shape().to_string());
  COHORT_CHECK(out.dtype() == x.dtype(), dtype_name(x.dtype()));
  COHORT_CHECK(weight.rank() == 1 && weight.dim(0) == out.dim(1) && weight.dtype() == DType::kF32,
               "weight " + weight.shape().to_string() + ", out " + out.shape().to_string());
  COHORT_CHECK(
      out.device() == stream.device() && x.device() == stream.device() && weight.device() == stream.device(),
      "out " + to_string(out.device()) + ", x " + to_string(x.device()) + ", weight " + to_string(weight.device()));
}

void check_residual(const TensorView& out, const TensorView& residual) {
  COHORT_CHECK(residual.shape() == out.shape() && residual.dtype() == out.dtype(),
               "residual " + residual.shape().to_string() + ", out " + out.shape().to_string());
  COHORT_CHECK(residual.device() == out.device(), to_string(residual.device()));
}

void check_bias(const TensorView& out, const ConstTensorView& bias) {
  if (bias.empty()) return;
  COHORT_CHECK(bias.rank() == 1 && bias.dim(0) == out.dim(1) && bias.dtype() == DType::kF32,
               "bias " + bias.shape().to_string() + ", out " + out.shape().to_string());
  COHORT_CHECK(bias.device() == out.device(), to_string(bias.device()));
}

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

}  // namespace

void rms_norm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, Stream& stream) {
  check_rows(out, x, weight, stream);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::rms_norm : cpu::rms_norm)(out, x, weight, eps, stream);
}

void add_rms_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight, float eps,
                  Stream& stream) {
  check_rows(out, x, weight, stream);
  check_residual(out, residual);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::add_rms_norm : cpu::add_rms_norm)(out, residual, x, weight, eps, stream);
}

void layer_norm(TensorView out, ConstTensorView x, ConstTensorView weight, ConstTensorView bias, float eps,
                Stream& stream) {
  check_rows(out, x, weight, stream);
  check_bias(out, bias);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::layer_norm : cpu::layer_norm)(out, x, weight, bias, eps, stream);
}

void add_layer_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                    ConstTensorView bias, float eps, Stream& stream) {
  check_rows(out, x, weight, stream);
  check_residual(out, residual);
  check_bias(out, bias);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::add_layer_norm : cpu::add_layer_norm)(out, residual, x, weight, bias, eps, stream);
}

}  // namespace cohort
