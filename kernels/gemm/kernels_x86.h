// The kernels that kernel_table_x86.cc lists. Internal.
#pragma once

#include "kernels/gemm/kernels.h"

namespace cohort::gemm_internal {

extern const Kernel kAvx2F32;
extern const Kernel kAvx2F16;
extern const Kernel kAvx2BF16;
extern const Kernel kAvx512F32;
extern const Kernel kAvx512F16;
extern const Kernel kAvx512BF16;
extern const Kernel kAvx512Bf16BF16;
extern const Kernel kAmxBF16;

}  // namespace cohort::gemm_internal
