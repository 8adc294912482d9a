// Loading whole tensors into memory of their own.
#pragma once

#include "runtime/models/weight_map.h"
#include "runtime/weights/weight_source.h"

namespace cohort {

// The tensor `ref`, converted to `dtype`. Errors name the file and the tensor.
inline Result<Tensor> load_tensor(const TensorRef& ref, DType dtype, WeightSource& source) {
  Tensor tensor(dtype, ref.shape);
  COHORT_RETURN_IF_ERROR(source.load_into(tensor, ref.name, ref.shape, 0, 0, ref.shape[0]));
  return tensor;
}

}  // namespace cohort
