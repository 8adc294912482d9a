// The kernels of a build for x86.
#include "kernels/gemm/kernels_portable.h"
#include "kernels/gemm/kernels_x86.h"

namespace cohort::gemm_internal {

std::span<const Kernel> all_kernels() {
  static const Kernel kernels[] = {kPortableF32, kPortableF16, kPortableBF16, kAvx2F32,        kAvx2F16, kAvx2BF16,
                                   kAvx512F32,   kAvx512F16,   kAvx512BF16,   kAvx512Bf16BF16, kAmxBF16};
  return kernels;
}

}  // namespace cohort::gemm_internal
