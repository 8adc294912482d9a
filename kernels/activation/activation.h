// Activation functions, plain and gated. Computed in float32, rounded once.
#pragma once

#include <optional>
#include <string_view>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

enum class Activation {
  kRelu,
  kGelu,      // x * Phi(x), by erf
  kGeluTanh,  // Hendrycks & Gimpel 2016, section 2: the tanh approximation; "gelu_new", "gelu_pytorch_tanh"
  kSilu,      // x * sigmoid(x); "silu", "swish"
  kTanh,
};

// From `hidden_act` of config.json; nothing if it is not known.
std::optional<Activation> activation_from_name(std::string_view name);

// out = f(x); both [num_tokens, n], rows may be strided, out may be x.
void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream);

// out [num_tokens, n] = f(gate_up[:, :n]) * gate_up[:, n:], gate_up [num_tokens, 2 n] (Shazeer 2020, "GLU Variants").
void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation, Stream& stream);

}  // namespace cohort
