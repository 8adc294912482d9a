#include "kernels/core/check.h"
#include "kernels/random/random_backends.h"

namespace cohort::cuda {

void fill_random(TensorView, const RandomRuns&, const RandomValues&, Stream&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort::cuda
