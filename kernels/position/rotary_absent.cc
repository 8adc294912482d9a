#include "kernels/core/check.h"
#include "kernels/position/rotary_backends.h"

namespace cohort::cuda {

void apply_rotary(TensorView, TensorView, ConstTensorView, ConstTensorView, const RotaryAngles&, const CacheWrite*,
                  Stream&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort::cuda
