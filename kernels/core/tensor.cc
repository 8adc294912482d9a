#include "kernels/core/tensor.h"

#include <string>

namespace cohort {

ConstTensorView::ConstTensorView(const void* data, DType dtype, const Shape& shape, Device device)
    : data_(data), dtype_(dtype), shape_(shape), device_(device) {
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides_[i] = stride;
    stride *= shape[i];
  }
}

bool ConstTensorView::is_dense() const {
  int64_t stride = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != stride) return false;
    stride *= shape_[i];
  }
  return true;
}

ConstTensorView ConstTensorView::slice(int dim, int64_t begin, int64_t end) const {
  COHORT_CHECK(dim >= 0 && dim < rank() && 0 <= begin && begin <= end && end <= shape_[dim],
               "slice [" + std::to_string(begin) + ", " + std::to_string(end) + ") of dimension " +
                   std::to_string(dim) + " of " + shape_.to_string());
  ConstTensorView view = *this;
  std::array<int64_t, Shape::kMaxRank> dims{};
  for (int i = 0; i < rank(); ++i) dims[i] = i == dim ? end - begin : shape_[i];
  view.shape_ = Shape(std::span(dims.data(), static_cast<size_t>(rank())));
  view.data_ = static_cast<const char*>(data_) + dtype_bytes(dtype_, begin * strides_[dim]);
  return view;
}

ConstTensorView ConstTensorView::reshape(const Shape& shape) const {
  COHORT_CHECK(shape.num_elements() == num_elements(), shape_.to_string() + " as " + shape.to_string());
  ConstTensorView view(data_, dtype_, shape, device_);
  if (is_dense()) return view;
  // Rows stay strided; the dense last dimension is split: [n, a * b] as [n, a, b].
  COHORT_CHECK(rank() == 2 && shape.rank() >= 2 && shape[0] == shape_[0],
               "a strided " + shape_.to_string() + " as " + shape.to_string());
  view.strides_[0] = strides_[0];
  return view;
}

}  // namespace cohort
