// The weights of all experts as the copy engine sees them. Internal to this folder; only for files that are compiled
// with CUDA.
#pragma once

#include "kernels/gemm/ring_cuda.cuh"
#include "kernels/moe/products_cuda.h"

namespace cohort::cuda {

inline constexpr int kGroupColumns = 8;  // that lie in shared memory together, of a gated product gate's and then up's

// The weights of all experts, by groups of columns and parts: gate and up, or one.
template <typename T>
CUtensorMap make_weight_map(const ExpertProduct& product, int groups_per_strip) {
  const auto k = static_cast<uint64_t>(product.k);
  const auto n = static_cast<uint64_t>(product.n);
  const uint32_t num_parts = product.is_gated ? 2 : 1;
  const TensorBox<5> tensor{
      .dims = {k, kGroupColumns, num_parts, n / kGroupColumns, static_cast<uint64_t>(product.num_experts)},
      .strides = {k * sizeof(T), n * k * sizeof(T), kGroupColumns * k * sizeof(T), num_parts * n * k * sizeof(T)},
      .box = {kRowBytes / sizeof(T), kGroupColumns, num_parts, static_cast<uint32_t>(groups_per_strip), 1}};
  return make_tensor_map<T>(product.weight, tensor, kRowBytes, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
}

}  // namespace cohort::cuda
