#include "kernels/core/check.h"
#include "kernels/sampling/sampling_plan.h"

namespace cohort::cuda {

void sample(TensorView, TensorView, const SamplingPlan&, Stream&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort::cuda
