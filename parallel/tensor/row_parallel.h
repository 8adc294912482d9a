// Products whose inputs, the dimension K, are split among the shards of a tensor group (Shoeybi et al. 2019,
// "Megatron-LM", section 3): each shard sums over its part of K, and the shards' sums are added.
//
// Layout invariance: a shard's chunks of K are a subtree of the canonical tree (kernels/gemm/gemm.h), and
// DeviceComm::all_reduce is its top, so that the bits do not depend on how many shards there are. A communicator that
// is not layout-invariant, NCCL's in its fast mode, gives that up: terms are rounded to the dtype of the model, which
// halves the message, and summed later.
#pragma once

#include "kernels/elementwise/elementwise.h"
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
  static int64_t num_bytes_for(int64_t max_rows, int64_t n) { return 2 * dtype_bytes(DType::kF32, max_rows * n); }

  // sums as [num_rows, n].
  TensorView sums_of(int64_t num_rows, int64_t n) const {
    return sums->slice(0, 0, num_rows * n).reshape(Shape{num_rows, n});
  }
};

// What row-parallel products leave behind: the sum over shards, or this shard's term of it, so that the sum can be made
// together with what follows (all_reduce_norm.h).
struct ShardedSum {
  TensorView value;            // [num_rows, n]: the sum if comm is null, otherwise this rank's term
  DeviceComm* comm = nullptr;  // whose ranks have the terms

  // Makes `value` the sum, on all shards.
  void complete(Stream& stream) {
    if (comm != nullptr) comm->all_reduce(value, {}, stream);
    comm = nullptr;
  }
};

// The sum over shards of what `product` makes of a shard's part of K, + bias [n], in out [num_rows, n]; the bias, which
// every shard holds whole, is added once. product(to [num_rows, n], its_bias): writes this shard's term plus its_bias,
// which may be empty, in the dtype of `to`. `comm` is null for a group of one.
//
// If `comm` is layout-invariant, the sum is complete and has the same bits for every number of shards. Otherwise out is
// this shard's term, rounded to its dtype, and the workspace is not used.
template <typename Product>
ShardedSum sum_over_shards(TensorView out, ConstTensorView bias, DeviceComm* comm, ReductionWorkspace& workspace,
                           Stream& stream, const Product& product) {
  if (comm == nullptr) {
    product(out, bias);
    return {out};
  }
  if (!comm->is_layout_invariant()) {
    product(out, comm->rank() == 0 ? bias : ConstTensorView());
    return {out, comm};
  }
  const TensorView sums = workspace.sums_of(out.dim(0), out.dim(1));
  product(sums, ConstTensorView());
  comm->all_reduce(sums, workspace.scratch, stream);
  add_bias(out, sums, bias, stream);
  return {out};
}

// sum_over_shards() of x [num_rows, local k] * weight^T; weight: this shard's part of K, with its part of the chunks.
ShardedSum row_parallel_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                             DeviceComm* comm, ReductionWorkspace& workspace, Stream& stream);

}  // namespace cohort
