#include "kernels/activation/activation.h"

#include <string>

#include "kernels/activation/activation_backends.h"
#include "kernels/core/check.h"

namespace cohort {
namespace {

void check(const TensorView& out, const ConstTensorView& x, const Stream& stream) {
  COHORT_CHECK(out.dtype() == x.dtype(), dtype_name(x.dtype()));
  COHORT_CHECK(out.device() == stream.device() && x.device() == stream.device(),
               "out " + to_string(out.device()) + ", x " + to_string(x.device()));
}

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

}  // namespace

std::optional<Activation> activation_from_name(std::string_view name) {
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return Activation::kGeluTanh;
  }
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "tanh") return Activation::kTanh;
  return std::nullopt;
}

void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream) {
  COHORT_CHECK(out.rank() == 2 && out.shape() == x.shape(),
               "out " + out.shape().to_string() + ", x " + x.shape().to_string());
  check(out, x, stream);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::activate : cpu::activate)(out, x, activation, stream);
}

void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation, Stream& stream) {
  COHORT_CHECK(
      out.rank() == 2 && gate_up.rank() == 2 && out.dim(0) == gate_up.dim(0) && 2 * out.dim(1) == gate_up.dim(1),
      "out " + out.shape().to_string() + ", gate_up " + gate_up.shape().to_string());
  check(out, gate_up, stream);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::activate_gated : cpu::activate_gated)(out, gate_up, activation, stream);
}

}  // namespace cohort
