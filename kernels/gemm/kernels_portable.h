// The kernels that every build has. Internal.
#pragma once

#include "kernels/gemm/kernels.h"

namespace cohort::gemm_internal {

extern const Kernel kPortableF32;
extern const Kernel kPortableF16;
extern const Kernel kPortableBF16;

}  // namespace cohort::gemm_internal
