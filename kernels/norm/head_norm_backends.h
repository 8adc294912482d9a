// The backends behind head_norm.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked; q and k are not both empty.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::cpu {

void head_rms_norm(TensorView q, TensorView k, ConstTensorView q_weight, ConstTensorView k_weight, float eps,
                   Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throws CheckError in a build without CUDA, and for heads of more than 1024 elements.
void head_rms_norm(TensorView q, TensorView k, ConstTensorView q_weight, ConstTensorView k_weight, float eps,
                   Stream& stream);

}  // namespace cohort::cuda
