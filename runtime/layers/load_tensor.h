// Loading tensors into memory of their own, of the device that computes with them.
#pragma once

#include "kernels/core/stream.h"
#include "parallel/layout/slice.h"
#include "runtime/models/weight_map.h"
#include "runtime/weights/weight_source.h"

namespace cohort {

// `tensor` itself, or a copy of it in the memory of `device`.
inline Tensor move_to(Tensor tensor, Device device) {
  if (tensor->device() == device) return tensor;
  Tensor copy(tensor->dtype(), tensor->shape(), device);
  copy_bytes(copy->data(), device, tensor->data(), tensor->device(), tensor->num_bytes());
  return copy;
}

// The rows `rows` of the tensor `ref`, converted to `dtype`. Errors name the file and the tensor.
inline Result<Tensor> load_rows(const TensorRef& ref, Slice rows, DType dtype, WeightSource& source, Device device) {
  const Shape shape = ref.shape.rank() == 1 ? Shape{rows.size()} : Shape{rows.size(), ref.shape[1]};
  Tensor tensor(dtype, shape, source.device());
  COHORT_RETURN_IF_ERROR(source.load_into(tensor, ref.name, ref.shape, 0, rows.begin, rows.end));
  return move_to(std::move(tensor), device);
}

// The whole tensor, likewise.
inline Result<Tensor> load_tensor(const TensorRef& ref, DType dtype, WeightSource& source, Device device) {
  return load_rows(ref, {0, ref.shape[0]}, dtype, source, device);
}

}  // namespace cohort
