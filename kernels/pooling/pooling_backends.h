// The backends behind pooling.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked, out is not empty.
#pragma once

#include "kernels/pooling/pooling.h"

namespace cohort {

inline constexpr float kMinPooledLength = 1e-12f;  // by which shorter vectors are divided

}  // namespace cohort

namespace cohort::cpu {

void pool_sequences(TensorView out, ConstTensorView x, ConstTensorView starts, Pooling pooling, bool normalizes,
                    Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throws CheckError in a build without CUDA.
void pool_sequences(TensorView out, ConstTensorView x, ConstTensorView starts, Pooling pooling, bool normalizes,
                    Stream& stream);

}  // namespace cohort::cuda
