#include "parallel/tensor/row_parallel.h"

#include "kernels/elementwise/elementwise.h"

namespace cohort {

ShardedSum row_parallel_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                             DeviceComm* comm, ReductionWorkspace& workspace, Stream& stream) {
  if (comm == nullptr) {
    gemm(out, x, weight, bias, stream);
    return {out};
  }
  if (!comm->is_layout_invariant()) {
    gemm(out, x, weight, comm->rank() == 0 ? bias : ConstTensorView(), stream);
    return {out, comm};
  }
  const TensorView sums = workspace.sums_of(out.dim(0), out.dim(1));
  gemm(sums, x, weight, {}, stream);
  comm->all_reduce(sums, workspace.scratch, stream);
  add_bias(out, sums, bias, stream);
  return {out};
}

}  // namespace cohort
