#include "kernels/pooling/pooling.h"

#include <initializer_list>

#include "kernels/core/check.h"
#include "kernels/pooling/pooling_backends.h"

namespace cohort {

void pool_sequences(TensorView out, ConstTensorView x, ConstTensorView starts, Pooling pooling, bool normalizes,
                    Stream& stream) {
  COHORT_CHECK(out.rank() == 2 && x.rank() == 2 && out.dim(1) == x.dim(1) && out.is_dense(),
               "out " + out.shape().to_string() + ", x " + x.shape().to_string());
  COHORT_CHECK(out.dtype() == DType::kF32, dtype_name(out.dtype()));
  COHORT_CHECK(starts.rank() == 1 && starts.dim(0) == out.dim(0) + 1 && starts.dtype() == DType::kI32,
               "starts " + starts.shape().to_string() + ", out " + out.shape().to_string());
  for (const ConstTensorView* const t : std::initializer_list<const ConstTensorView*>{&out, &x, &starts}) {
    COHORT_CHECK(t->device() == stream.device(), to_string(t->device()));
  }
  if (out.empty()) return;
  const bool is_cuda = stream.device().kind == DeviceKind::kCuda;
  (is_cuda ? cuda::pool_sequences : cpu::pool_sequences)(out, x, starts, pooling, normalizes, stream);
}

}  // namespace cohort
