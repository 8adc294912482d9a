#include "parallel/tensor/row_parallel.h"

namespace cohort {

ShardedSum row_parallel_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                             DeviceComm* comm, ReductionWorkspace& workspace, Stream& stream) {
  return sum_over_shards(out, bias, comm, workspace, stream,
                         [&](TensorView to, ConstTensorView its_bias) { gemm(to, x, weight, its_bias, stream); });
}

}  // namespace cohort
