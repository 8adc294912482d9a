// The kernels of a build for a CPU that has none of its own.
#include "kernels/gemm/kernels_portable.h"

namespace cohort::gemm_internal {

std::span<const Kernel> all_kernels() {
  static const Kernel kernels[] = {kPortableF32, kPortableF16, kPortableBF16};
  return kernels;
}

}  // namespace cohort::gemm_internal
