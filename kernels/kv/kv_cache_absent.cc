#include "kernels/core/check.h"
#include "kernels/kv/kv_cache_backends.h"

namespace cohort::cuda {

void write_kv(KvCacheView, ConstTensorView, ConstTensorView, ConstTensorView, Stream&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort::cuda
