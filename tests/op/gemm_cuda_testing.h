// What the tests of products on CUDA share: matrices on the device, inside of guards.
#pragma once

#include <vector>

#include "kernels/gemm/gemm.h"
#include "tests/op/gemm_testing.h"

namespace cohort {

inline constexpr Device kCuda{DeviceKind::kCuda, 0};

// How rows lie in memory: `offset` elements before the first, `gap` behind each.
struct Placement {
  int64_t offset = 0;
  int64_t gap = 0;
};

// A matrix [rows, columns] on the device, NaN at first. All around its elements is NaN too.
class DeviceMatrix {
 public:
  DeviceMatrix(DType dtype, int64_t rows, int64_t columns, Placement placement = {})
      : rows_(rows), columns_(columns), placement_(placement), storage_(dtype, Shape{num_elements()}, kCuda) {
    upload(std::vector<char>(num_bytes(), '\xff'));
    view_ = storage_->slice(0, placement.offset, placement.offset + rows * stride())
                .reshape({rows, stride()})
                .slice(1, 0, columns);
  }
  explicit DeviceMatrix(const Matrix& host, Placement placement = {})
      : DeviceMatrix(host.view().dtype(), host.num_rows(), host.num_columns(), placement) {
    std::vector<char> bytes(num_bytes(), '\xff');
    for (int64_t r = 0; r < rows_; ++r) std::memcpy(bytes.data() + row_begin(r), row_of(host, r), row_bytes());
    upload(bytes);
  }

  TensorView view() const { return view_; }

  // The elements. Fails the test if anything around them was written.
  Matrix fetch() const {
    std::vector<char> bytes(num_bytes());
    copy_bytes(bytes.data(), kCpuDevice, storage_->data(), kCuda, static_cast<int64_t>(bytes.size()));
    Matrix host(storage_->dtype(), rows_, columns_);
    for (int64_t r = 0; r < rows_; ++r) {
      std::memcpy(row_of(host, r), bytes.data() + row_begin(r), row_bytes());
      std::memset(bytes.data() + row_begin(r), 0xff, row_bytes());
    }
    EXPECT_TRUE(bytes == std::vector<char>(bytes.size(), '\xff')) << "wrote outside of its rows";
    return host;
  }

 private:
  int64_t stride() const { return columns_ + placement_.gap; }
  int64_t num_elements() const { return placement_.offset + rows_ * stride(); }
  size_t num_bytes() const { return static_cast<size_t>(storage_->num_bytes()); }
  size_t row_bytes() const { return static_cast<size_t>(dtype_bytes(storage_->dtype(), columns_)); }
  int64_t row_begin(int64_t r) const { return dtype_bytes(storage_->dtype(), placement_.offset + r * stride()); }
  static char* row_of(const Matrix& host, int64_t r) {
    return static_cast<char*>(host.view().data()) + dtype_bytes(host.view().dtype(), r * host.view().stride(0));
  }
  void upload(const std::vector<char>& bytes) const {
    copy_bytes(storage_->data(), kCuda, bytes.data(), kCpuDevice, static_cast<int64_t>(bytes.size()));
  }

  int64_t rows_;
  int64_t columns_;
  Placement placement_;
  Tensor storage_;
  TensorView view_;
};

// A case of gemm_testing.h on the device.
struct DeviceCase {
  explicit DeviceCase(const Case& c, Placement x_placement = {})
      : x(c.x, x_placement), bias(DType::kF32, c.bias->shape(), kCuda) {
    copy_bytes(bias->data(), kCuda, c.bias->data(), kCpuDevice, c.bias->num_bytes());
  }

  DeviceMatrix x;
  Tensor bias;
};

// Skips where there is no GPU.
class GemmCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }

  static PackedWeight pack(ConstTensorView weight, DType dtype, int num_chunks, GemmMode mode, Stream& stream) {
    return PackedWeight::pack(weight, WeightLayout::kOutIn, dtype, num_chunks, mode, stream);
  }
};

}  // namespace cohort
