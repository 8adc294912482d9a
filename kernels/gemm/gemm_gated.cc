#include "kernels/gemm/gemm_gated.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/gemm/check_gemm.h"
#include "kernels/gemm/gemm_cuda.h"

namespace cohort {

void gemm_gated(TensorView out, TensorView gate_up, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                Activation activation, Stream& stream) {
  gemm_internal::check_gemm(gate_up, x, weight, bias, stream);
  COHORT_CHECK(out.rank() == 2 && out.dim(0) == x.dim(0) && 2 * out.dim(1) == weight.n() && out.dtype() == x.dtype() &&
                   gate_up.dtype() == x.dtype() && out.device() == stream.device(),
               "out " + out.shape().to_string() + " " + std::string(dtype_name(out.dtype())) + ", n " +
                   std::to_string(weight.n()));
  if (out.empty()) return;
  if (stream.device().kind == DeviceKind::kCuda && cuda::try_gemm_gated(out, x, weight, bias, activation, stream)) {
    return;
  }
  gemm(gate_up, x, weight, bias, stream);
  activate_gated(out, gate_up, activation, stream);
}

}  // namespace cohort
