// RMSNorm of the heads of queries and keys (Qwen3; Henry et al. 2020, "Query-Key Normalization for Transformers", which
// normalises by L2).
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// Every head x of q [num_tokens, num_heads, head_dim] becomes x / sqrt(mean(x^2) + eps) * q_weight, and every head of
// k [num_tokens, num_kv_heads, head_dim] likewise with k_weight. Weights are [head_dim], float32. q and k have one
// dtype; tokens may be strided, as the parts of a fused qkv are; either may be empty. Rounded as rms_norm() rounds; the
// bits of a head depend on itself alone. On CUDA head_dim is at most 1024.
void head_rms_norm(TensorView q, TensorView k, ConstTensorView q_weight, ConstTensorView k_weight, float eps,
                   Stream& stream);

}  // namespace cohort
