// The products of experts behind moe_cuda.cu, of which each expert's rows are known to the device alone. Internal to
// this folder; no CUDA include.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"
#include "kernels/core/stream.h"
#include "kernels/gemm/gemm.h"

namespace cohort::cuda {

// For every local expert e and row r of [first_rows[e], first_rows[e + 1]): out[r] = x[r] * weight_e^T.
//
// Grids are made for the worst case; blocks without rows end.
struct ExpertProduct {
  DType dtype = DType::kF32;
  GemmMode mode = GemmMode::kFast;
  void* out = nullptr;  // [num_rows, n], dense: float32, or of `dtype` if gated
  const void* x = nullptr;
  int64_t x_stride = 0;
  const int32_t* tokens = nullptr;  // the row of x that is meant by a row; null for itself
  const void* weight = nullptr;     // [num_experts, n, k], dense; gated, of gate and then up: [num_experts, 2, n, k]
  const int32_t* first_rows = nullptr;  // [num_experts + 1]
  bool is_gated = false;                // out = f(x * gate^T) * (x * up^T), both rounded before
  Activation activation = Activation::kSilu;
  int num_experts = 0;
  int n = 0;
  int k = 0;
  int max_expert_rows = 0;  // of one expert
  int max_rows = 0;         // of all
  bool is_early = false;    // first_rows were written before the kernel before the last
};

// Any product. Each sum is one chain along K, which the rows beside it do not change.
void run_tiled_experts(const ExpertProduct& product, Stream& stream);

// Of aligned 16-bit elements, on Hopper, in the fast mode: what the two below take. They read rows of x as they are;
// `tokens` must be null.
bool can_be_hopper(const ExpertProduct& product);

// Up to kMaxSkinnyExpertRows rows an expert, at the speed at which memory gives the weights of those that have rows.
inline constexpr int kMaxSkinnyExpertRows = 64;
void run_skinny_experts(const ExpertProduct& product, Stream& stream);

// Any number of rows.
void run_wide_experts(const ExpertProduct& product, Stream& stream);

}  // namespace cohort::cuda
