// The backends behind elementwise.h. Internal to this folder.
//
// Arguments are checked, not empty, and of rank 2.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::cpu {

void add(TensorView sums, ConstTensorView x, Stream& stream);
void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream);
void copy_rows(TensorView out, ConstTensorView x, Stream& stream);
void scale(TensorView x, float factor, Stream& stream);
void soft_cap(TensorView x, float cap, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throw CheckError in a build without CUDA.
void add(TensorView sums, ConstTensorView x, Stream& stream);
void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream);
void copy_rows(TensorView out, ConstTensorView x, Stream& stream);
void scale(TensorView x, float factor, Stream& stream);
void soft_cap(TensorView x, float cap, Stream& stream);

}  // namespace cohort::cuda
