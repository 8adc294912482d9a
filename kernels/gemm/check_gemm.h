// What gemm.h requires of a product. Internal to this folder.
#pragma once

#include "kernels/gemm/gemm.h"

namespace cohort::gemm_internal {

// Throws CheckError.
void check_gemm(const ConstTensorView& out, const ConstTensorView& x, const PackedWeight& weight,
                const ConstTensorView& bias, const Stream& stream);

}  // namespace cohort::gemm_internal
