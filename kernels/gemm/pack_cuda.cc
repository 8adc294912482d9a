#include "kernels/core/convert.h"
#include "kernels/gemm/gemm_cuda.h"

namespace cohort::cuda {

void pack_weight(void* packed, DType dtype, ConstTensorView weight, WeightLayout layout, Stream& stream) {
  Tensor copy;  // of rows in host memory, and of what lies between them
  if (weight.device() == kCpuDevice) {
    const int64_t num_elements = (weight.dim(0) - 1) * weight.stride(0) + weight.dim(1);
    copy = Tensor(weight.dtype(), {weight.dim(0), weight.stride(0)}, stream.device());
    copy_bytes(copy->data(), stream.device(), weight.data(), kCpuDevice, dtype_bytes(weight.dtype(), num_elements));
    weight = copy->slice(1, 0, weight.dim(1));
  }
  const bool is_out_in = layout == WeightLayout::kOutIn;
  const Shape shape{weight.dim(is_out_in ? 0 : 1), weight.dim(is_out_in ? 1 : 0)};
  (is_out_in ? convert : transpose)({packed, dtype, shape, stream.device()}, weight, stream);
  stream.synchronize();  // before the memory of `weight` is used again
}

}  // namespace cohort::cuda
