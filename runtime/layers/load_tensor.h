// Loading tensors into memory of their own, of the device that computes with them.
#pragma once

#include "parallel/layout/slice.h"
#include "runtime/layers/load_context.h"
#include "runtime/models/weight_map.h"

namespace cohort {

// `tensor` itself, or a copy of it in the memory of `device`.
inline Tensor move_to(Tensor tensor, Device device) {
  if (tensor->device() == device) return tensor;
  Tensor copy(tensor->dtype(), tensor->shape(), device);
  copy_bytes(copy->data(), device, tensor->data(), tensor->device(), tensor->num_bytes());
  return copy;
}

// The rows `rows` of the tensor `ref`, converted to `dtype`. Errors name the file and the tensor.
inline Result<Tensor> load_rows(const LoadContext& context, const TensorRef& ref, Slice rows, DType dtype) {
  const Shape shape = ref.shape.rank() == 1 ? Shape{rows.size()} : Shape{rows.size(), ref.shape[1]};
  Tensor tensor(dtype, shape, context.source.device());
  COHORT_RETURN_IF_ERROR(context.source.load_into(tensor, ref.name, ref.shape, 0, rows.begin, rows.end));
  return move_to(std::move(tensor), context.device());
}

// The whole tensor, likewise.
inline Result<Tensor> load_tensor(const LoadContext& context, const TensorRef& ref, DType dtype) {
  return load_rows(context, ref, {0, ref.shape[0]}, dtype);
}

}  // namespace cohort
