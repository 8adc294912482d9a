// Conversion of elements between float dtypes: for loading, not for a step.
#pragma once

#include "kernels/core/tensor.h"

namespace cohort {

// out = in, element by element; both of one shape with at most two dimensions, float32, float16 or bfloat16, on the
// CPU; rows may be strided. Rounds to nearest even; equal dtypes copy bits.
void convert(TensorView out, ConstTensorView in);

}  // namespace cohort
