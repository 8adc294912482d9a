// What gates, on the device. Internal to this folder; only for files that are compiled with CUDA.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/activation/activation_functions.cuh"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda {

__device__ inline float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return Relu::apply(x);
    case Activation::kGelu:
      return Gelu::apply(x);
    case Activation::kGeluTanh:
      return GeluTanh::apply(x);
    case Activation::kSilu:
      return Silu::apply(x);
    case Activation::kTanh:
      return Tanh::apply(x);
  }
  return x;
}

// f(gate) * up, as if both products were stored, and gated by another kernel.
template <typename T>
__device__ T gated(float gate, float up, Activation activation) {
  return round_to<T>(__fmul_rn(activated(to_float(round_to<T>(gate)), activation), to_float(round_to<T>(up))));
}

}  // namespace cohort::cuda
