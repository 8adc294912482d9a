// The backends behind norm.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked, out is not empty. An empty bias means none.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::cpu {

void rms_norm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, Stream& stream);
void add_rms_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight, float eps,
                  Stream& stream);
void layer_norm(TensorView out, ConstTensorView x, ConstTensorView weight, ConstTensorView bias, float eps,
                Stream& stream);
void add_layer_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                    ConstTensorView bias, float eps, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throw CheckError in a build without CUDA, and for rows of more than 32768 elements.
void rms_norm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, Stream& stream);
void add_rms_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight, float eps,
                  Stream& stream);
void layer_norm(TensorView out, ConstTensorView x, ConstTensorView weight, ConstTensorView bias, float eps,
                Stream& stream);
void add_layer_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                    ConstTensorView bias, float eps, Stream& stream);

}  // namespace cohort::cuda
