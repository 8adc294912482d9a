// The backends behind activation.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked, out is not empty.
#pragma once

#include <string>

#include "kernels/activation/activation.h"
#include "kernels/core/check.h"

namespace cohort::cpu {

void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream);
void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throw CheckError in a build without CUDA.
void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream);
void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation, Stream& stream);

}  // namespace cohort::cuda

namespace cohort {

// Calls f.template operator()<Op>() with the one of a backend's functors that `activation` names.
template <typename Relu, typename Gelu, typename GeluTanh, typename Silu, typename Tanh, typename F>
void dispatch_activation(Activation activation, F&& f) {
  switch (activation) {
    case Activation::kRelu:
      return f.template operator()<Relu>();
    case Activation::kGelu:
      return f.template operator()<Gelu>();
    case Activation::kGeluTanh:
      return f.template operator()<GeluTanh>();
    case Activation::kSilu:
      return f.template operator()<Silu>();
    case Activation::kTanh:
      return f.template operator()<Tanh>();
  }
  COHORT_CHECK(false, "activation " + std::to_string(static_cast<int>(activation)));
}

}  // namespace cohort
