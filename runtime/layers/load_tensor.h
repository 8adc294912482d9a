// Loading tensors into memory of their own.
#pragma once

#include "parallel/layout/slice.h"
#include "runtime/models/weight_map.h"
#include "runtime/weights/weight_source.h"

namespace cohort {

// The rows `rows` of the tensor `ref`, converted to `dtype`. Errors name the file and the tensor.
inline Result<Tensor> load_rows(const TensorRef& ref, Slice rows, DType dtype, WeightSource& source) {
  Tensor tensor(dtype, ref.shape.rank() == 1 ? Shape{rows.size()} : Shape{rows.size(), ref.shape[1]});
  COHORT_RETURN_IF_ERROR(source.load_into(tensor, ref.name, ref.shape, 0, rows.begin, rows.end));
  return tensor;
}

// The whole tensor, likewise.
inline Result<Tensor> load_tensor(const TensorRef& ref, DType dtype, WeightSource& source) {
  return load_rows(ref, {0, ref.shape[0]}, dtype, source);
}

}  // namespace cohort
