// Conversion of elements between float dtypes: for loading, not for a step.
//
// Tensors are float32, float16 or bfloat16, on the stream's device; rows may be strided. Rounds to nearest even; equal
// dtypes copy values.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// out = in, element by element; both of one shape with one or two dimensions.
void convert(TensorView out, ConstTensorView in, Stream& stream);

// out [n, m] = in [m, n] with rows and columns exchanged.
void transpose(TensorView out, ConstTensorView in, Stream& stream);

}  // namespace cohort
