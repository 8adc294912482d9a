// Normalisation of rows, alone or fused with the residual addition before it. Statistics and sums in float32, in a
// fixed order that depends on `hidden` alone; the result is rounded once to the dtype of out.
//
// out, x, residual are [num_tokens, hidden] of one dtype (rows may be strided, out may be x); weight and bias are
// [hidden], float32.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// out = x / sqrt(mean(x^2) + eps) * weight   (Zhang & Sennrich 2019, "Root Mean Square Layer Normalization")
void rms_norm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, Stream& stream);

// residual += x (rounded to its dtype); out = rms_norm(residual).
void add_rms_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight, float eps,
                  Stream& stream);

// out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias, the variance by two passes (Ba et al. 2016, "Layer
// Normalization"). An empty bias means none.
void layer_norm(TensorView out, ConstTensorView x, ConstTensorView weight, ConstTensorView bias, float eps,
                Stream& stream);

// residual += x (rounded to its dtype); out = layer_norm(residual).
void add_layer_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                    ConstTensorView bias, float eps, Stream& stream);

}  // namespace cohort
