// Products whose inputs, the dimension K, are split among the shards of a tensor group (Shoeybi et al. 2019,
// "Megatron-LM", section 3): each shard sums over its part of K, and the shards' sums are added.
//
// Layout invariance: a shard's chunks of K are a subtree of the canonical tree (kernels/gemm/gemm.h), and
// DeviceComm::all_reduce is its top, so that the bits do not depend on how many shards there are.
#pragma once

#include "kernels/gemm/gemm.h"
#include "parallel/comm/device_comm.h"

namespace cohort {

// Memory for partial sums, made once for the largest step. Empty for a group of one.
struct ReductionWorkspace {
  ReductionWorkspace() = default;
  // For results of up to [max_rows, n].
  ReductionWorkspace(int64_t max_rows, int64_t n, Device device)
      : sums(DType::kF32, Shape{max_rows * n}, device), scratch(DType::kF32, Shape{max_rows * n}, device) {}

  Tensor sums;     // [max_rows * n] float32
  Tensor scratch;  // likewise
  int64_t num_bytes() const { return sums->num_bytes() + scratch->num_bytes(); }

  // sums as [num_rows, n].
  TensorView sums_of(int64_t num_rows, int64_t n) const {
    return sums->slice(0, 0, num_rows * n).reshape(Shape{num_rows, n});
  }
};

// out [num_rows, n] = sum over shards of (x [num_rows, local k] * weight^T) + bias [n], the same bits on every shard.
// weight: this shard's part of K, with its part of the chunks. The bias, which every shard holds whole, is added once.
// `comm` is null for a group of one.
void row_parallel_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                       DeviceComm* comm, ReductionWorkspace& workspace, Stream& stream);

}  // namespace cohort
