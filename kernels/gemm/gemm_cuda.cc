#include "kernels/core/check.h"
#include "kernels/core/cuda_device.h"
#include "kernels/gemm/kernels_cuda.h"

namespace cohort::cuda {
namespace {

using gemm_internal::CudaKernel;
using gemm_internal::CudaProblem;

constexpr int64_t kAlignment = 16;

bool is_aligned(const void* p, DType dtype, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % kAlignment == 0 && dtype_bytes(dtype, stride) % kAlignment == 0;
}

}  // namespace

CudaProblem problem_of(const ConstTensorView& x, const PackedWeight& weight, const Stream& stream) {
  COHORT_CUDA_CHECK(cudaSetDevice(stream.device().index));
  const DType dtype = weight.dtype();
  const int64_t x_stride = x.dim(0) == 1 ? 0 : x.stride(0);
  return {.num_rows = x.dim(0),
          .n = weight.n(),
          .k = weight.k(),
          .dtype = dtype,
          .mode = weight.mode(),
          .is_aligned = is_aligned(x.data(), dtype, x_stride) && is_aligned(weight.data(), dtype, weight.k()),
          .is_hopper = has_sm90a_kernels()};
}

void run_gemm(CudaKernel kernel, TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
              Stream& stream) {
  switch (kernel) {
    case CudaKernel::kCublasLt:
      return run_cublaslt_gemm(out, x, weight, bias, stream, false);
    case CudaKernel::kSkinny:
      COHORT_CHECK(can_be_skinny(problem_of(x, weight, stream)), x.shape().to_string());
      return run_skinny_gemm(out, x, weight, bias, stream);
    case CudaKernel::kWide:
      COHORT_CHECK(can_be_wide(problem_of(x, weight, stream)), x.shape().to_string());
      return run_wide_gemm(out, x, weight, bias,
                           gemm_internal::plan_wide(x.dim(0), weight.n(), num_multiprocessors(stream)), stream);
    case CudaKernel::kTiled:
      return run_tiled_gemm(out, x, weight, bias, stream);
  }
}

void gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream) {
  run_gemm(choose_gemm_kernel(problem_of(x, weight, stream)), out, x, weight, bias, stream);
}

bool try_gemm_gated(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                    Activation activation, Stream& stream) {
  const bool is_fusible = activation == Activation::kSilu || activation == Activation::kGeluTanh;
  if (!is_fusible || choose_gemm_kernel(problem_of(x, weight, stream)) != CudaKernel::kWide) return false;
  run_wide_gemm_gated(out, x, weight, bias, activation,
                      gemm_internal::plan_wide_gated(x.dim(0), out.dim(1), num_multiprocessors(stream)), stream);
  return true;
}

void autotune_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                   Stream& stream) {
  if (choose_gemm_kernel(problem_of(x, weight, stream)) != CudaKernel::kCublasLt) return;
  run_cublaslt_gemm(out, x, weight, bias, stream, true);
}

}  // namespace cohort::cuda
