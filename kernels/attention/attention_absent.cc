#include "kernels/attention/attention_backends.h"
#include "kernels/core/check.h"

namespace cohort::cuda {

void paged_attention(TensorView, ConstTensorView, KvCacheView, const AttentionBatch&, const AttentionParams&,
                     TensorView, Stream&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort::cuda
