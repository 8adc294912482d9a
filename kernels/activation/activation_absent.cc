#include "kernels/activation/activation_backends.h"
#include "kernels/core/check.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

void activate(TensorView, ConstTensorView, Activation, Stream&) { absent(); }
void activate_gated(TensorView, ConstTensorView, Activation, Stream&) { absent(); }

}  // namespace cohort::cuda
