// TensorView and ConstTensorView borrow memory; Tensor owns it. Row-major, the last dimension dense; outer
// dimensions may be strided, so that the q part of a fused [num_tokens, q + k + v] is a view.
//
// Views are small values; nothing here is synchronised.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/core/buffer.h"
#include "kernels/core/check.h"
#include "kernels/core/device.h"
#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"

namespace cohort {

class ConstTensorView {
 public:
  ConstTensorView() = default;  // no memory, shape [0]
  // Dense memory of `shape`.
  ConstTensorView(const void* data, DType dtype, const Shape& shape, Device device = kCpuDevice);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t stride(int i) const { return strides_[i]; }  // in elements
  int64_t num_elements() const { return shape_.num_elements(); }
  int64_t num_bytes() const { return dtype_bytes(dtype_, num_elements()); }
  Device device() const { return device_; }
  bool is_dense() const;  // no gaps between rows
  bool empty() const { return num_elements() == 0; }

  const void* data() const { return data_; }
  // The element at 0, ...; requires that T is the dtype.
  template <typename T>
  const T* data() const {
    COHORT_CHECK(kDTypeOf<T> == dtype_, dtype_name(dtype_));
    return static_cast<const T*>(data_);
  }
  // First element of row i of the outermost dimension.
  template <typename T>
  const T* row(int64_t i) const {
    return data<T>() + i * strides_[0];
  }

  // Indices [begin, end) of dimension `dim`.
  ConstTensorView slice(int dim, int64_t begin, int64_t end) const;
  // The same elements in another shape; requires is_dense(), or that only the last dimension is split.
  ConstTensorView reshape(const Shape& shape) const;

 protected:
  const void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_{0};
  std::array<int64_t, Shape::kMaxRank> strides_{};
  Device device_;
};

class TensorView : public ConstTensorView {
 public:
  TensorView() = default;
  TensorView(void* data, DType dtype, const Shape& shape, Device device = kCpuDevice)
      : ConstTensorView(data, dtype, shape, device) {}

  void* data() const { return const_cast<void*>(data_); }
  template <typename T>
  T* data() const {
    return const_cast<T*>(ConstTensorView::data<T>());
  }
  template <typename T>
  T* row(int64_t i) const {
    return const_cast<T*>(ConstTensorView::row<T>(i));
  }
  TensorView slice(int dim, int64_t begin, int64_t end) const {
    return TensorView(ConstTensorView::slice(dim, begin, end));
  }
  TensorView reshape(const Shape& shape) const { return TensorView(ConstTensorView::reshape(shape)); }

 private:
  // Only for views derived from a mutable one.
  explicit TensorView(const ConstTensorView& view) : ConstTensorView(view) {}
};

// Owns dense memory on a device. Not initialised.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, const Shape& shape, Device device = kCpuDevice)
      : buffer_(dtype_bytes(dtype, shape.num_elements()), device), view_(buffer_.data(), dtype, shape, device) {}

  TensorView view() const { return view_; }
  operator TensorView() const { return view_; }       // NOLINT: a tensor is used as its view
  operator ConstTensorView() const { return view_; }  // NOLINT: likewise
  const TensorView* operator->() const { return &view_; }

 private:
  Buffer buffer_;
  TensorView view_;
};

}  // namespace cohort
