// The CUDA backend behind convert.h. Internal to this folder.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::cuda {

// Both of rank 2, checked and not empty. Throw CheckError in a build without CUDA.
void convert(TensorView out, ConstTensorView in, Stream& stream);
void transpose(TensorView out, ConstTensorView in, Stream& stream);

}  // namespace cohort::cuda
