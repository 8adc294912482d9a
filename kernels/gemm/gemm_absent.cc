#include "kernels/core/check.h"
#include "kernels/gemm/kernels_cuda.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

void pack_weight(void*, DType, ConstTensorView, WeightLayout, Stream&) { absent(); }
void gemm(TensorView, ConstTensorView, const PackedWeight&, ConstTensorView, Stream&) { absent(); }
bool try_gemm_gated(TensorView, ConstTensorView, const PackedWeight&, ConstTensorView, Activation, Stream&) {
  absent();
}
void prepare_gemm(Stream&) { absent(); }
void autotune_gemm(TensorView, ConstTensorView, const PackedWeight&, ConstTensorView, Stream&) { absent(); }
gemm_internal::CudaProblem problem_of(const ConstTensorView&, const PackedWeight&, const Stream&) { absent(); }
void run_gemm(gemm_internal::CudaKernel, TensorView, ConstTensorView, const PackedWeight&, ConstTensorView, Stream&) {
  absent();
}
void run_wide_gemm(TensorView, ConstTensorView, const PackedWeight&, ConstTensorView, const gemm_internal::WidePlan&,
                   Stream&) {
  absent();
}
void run_wide_gemm_gated(TensorView, ConstTensorView, const PackedWeight&, ConstTensorView, Activation,
                         const gemm_internal::WidePlan&, Stream&) {
  absent();
}

}  // namespace cohort::cuda
