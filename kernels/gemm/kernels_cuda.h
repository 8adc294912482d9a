// The kernels behind the CUDA backend. Internal to this folder and its benches; no CUDA include.
//
// Arguments are those of gemm(), checked and not empty.
#pragma once

#include "kernels/gemm/gemm_cuda.h"

namespace cohort::cuda {

// Requires that can_be_skinny().
void run_skinny_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                     Stream& stream);

// Requires that can_be_wide(), and a plan for as many rows and columns.
void run_wide_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                   const gemm_internal::WidePlan& plan, Stream& stream);
// Likewise, with a plan for two matrices; the arguments are those of gemm_gated(), with kSilu or kGeluTanh.
void run_wide_gemm_gated(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                         Activation activation, const gemm_internal::WidePlan& plan, Stream& stream);

// Requires at most PackedWeight::kMaxCudaChunks chunks, or the fast mode, which takes K as one.
void run_tiled_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                    Stream& stream);

// Falls back to run_tiled_gemm() where cuBLASLt has no algorithm. `tunes`: as autotune_gemm() says.
void run_cublaslt_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                       Stream& stream, bool tunes);

// out = sums + bias, rounded to the dtype of out. sums [num_rows, n] and bias [n] are float32; out may be sums.
void store_with_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream);

}  // namespace cohort::cuda
