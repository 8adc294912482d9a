#include "kernels/core/check.h"
#include "parallel/tensor/all_reduce_norm_kernel.h"

namespace cohort::cuda {

void all_reduce_add_norm(TensorView, TensorView, ConstTensorView, const NormWeights&, const AllReduceNormConfig&,
                         const Mailbox&, Stream&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort::cuda
