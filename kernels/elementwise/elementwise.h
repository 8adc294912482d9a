// Sums and copies of rows, in which ranks' partial results become one, and functions of single elements. Arithmetic in
// float32, rounded once.
//
// Shapes are [num_rows, n] or [n]; rows may be strided.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// sums += x; equal shapes and dtypes.
void add(TensorView sums, ConstTensorView x, Stream& stream);

// out = sums + bias, rounded to the dtype of out. sums is float32; bias is [n] float32, or empty for none.
void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream);

// out = x; equal shapes and dtypes of 1, 2, 4 or 8 bytes.
void copy_rows(TensorView out, ConstTensorView x, Stream& stream);

// x *= factor.
void scale(TensorView x, float factor, Stream& stream);

// x = cap * tanh(x / cap), cap > 0 (Gemma Team 2024, "Gemma 2", section 2: logit soft-capping).
void soft_cap(TensorView x, float cap, Stream& stream);

}  // namespace cohort
