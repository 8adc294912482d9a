#include "kernels/core/check.h"
#include "kernels/core/convert_backends.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

void convert(TensorView, ConstTensorView, Stream&) { absent(); }
void transpose(TensorView, ConstTensorView, Stream&) { absent(); }

}  // namespace cohort::cuda
