// What stands for the rest of a decoder layer when gemm_cuda_bench times chains of products: a small kernel that
// depends on the product before.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// out [num_rows, n] = x [num_rows, first n columns] / `divisor`, within -2 and 2, by a chained kernel. bfloat16.
void pass_on(TensorView out, ConstTensorView x, float divisor, Stream& stream);

}  // namespace cohort
