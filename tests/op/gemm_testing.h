// What the tests of the CPU product share: matrices with guards, and a plain product in double
// precision.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "kernels/core/tensor.h"

namespace cohort {

inline constexpr int64_t kGuard = 5;  // elements between the rows of x and out, which no one may read or write

// A matrix [rows, columns] with guard elements after each row.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t columns)
      : tensor_(dtype, Shape{rows, columns + kGuard}), rows_(rows), columns_(columns) {
    std::memset(tensor_->data(), 0xff,
                static_cast<size_t>(tensor_->num_bytes()));  // NaN in each dtype
  }
  TensorView view() const { return tensor_->slice(1, 0, columns_); }
  TensorView rows(int64_t begin, int64_t end) const { return view().slice(0, begin, end); }
  float at(int64_t r, int64_t c) const {
    return dispatch_float(tensor_->dtype(), [&]<typename T>() { return static_cast<float>(tensor_->row<T>(r)[c]); });
  }
  void set(int64_t r, int64_t c, float value) {
    dispatch_float(tensor_->dtype(), [&]<typename T>() { tensor_->row<T>(r)[c] = static_cast<T>(value); });
  }
  void fill(std::mt19937& rng, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < columns_; ++c) set(r, c, normal(rng));
    }
  }
  bool guards_are_untouched() const {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = columns_; c < columns_ + kGuard; ++c) {
        if (!std::isnan(at(r, c))) return false;
      }
    }
    return true;
  }
  bool row_equals(int64_t r, const Matrix& other, int64_t other_r) const {
    const auto bytes = static_cast<size_t>(dtype_bytes(tensor_->dtype(), columns_));
    const auto* a = static_cast<const char*>(tensor_->data()) + r * stride_bytes();
    const auto* b = static_cast<const char*>(other.tensor_->data()) + other_r * other.stride_bytes();
    return std::memcmp(a, b, bytes) == 0;
  }
  int64_t num_rows() const { return rows_; }
  int64_t num_columns() const { return columns_; }

 private:
  int64_t stride_bytes() const { return dtype_bytes(tensor_->dtype(), columns_ + kGuard); }

  Tensor tensor_;
  int64_t rows_;
  int64_t columns_;
};

inline bool all_equal(const Matrix& a, const Matrix& b) {
  for (int64_t r = 0; r < a.num_rows(); ++r) {
    if (!a.row_equals(r, b, r)) return false;
  }
  return true;
}

// x, weight and bias of one problem, and the product of each element in double precision.
struct Case {
  Case(DType dtype, int64_t m, int64_t n, int64_t k, float scale = 1.0f)
      : x(dtype, m, k), weight(dtype, n, k), bias(DType::kF32, Shape{n}) {
    std::mt19937 rng(static_cast<unsigned>(m * 7919 + n * 31 + k));
    x.fill(rng, scale);
    weight.fill(rng);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) bias->data<float>()[i] = normal(rng);
  }

  // The sum, and the sum of magnitudes that bounds its error.
  void reference(int64_t r, int64_t c, bool has_bias, double& sum, double& magnitude) const {
    sum = has_bias ? static_cast<double>(bias->data<float>()[c]) : 0.0;
    magnitude = std::abs(sum);
    for (int64_t i = 0; i < x.num_columns(); ++i) {
      const double product = static_cast<double>(x.at(r, i)) * static_cast<double>(weight.at(c, i));
      sum += product;
      magnitude += std::abs(product);
    }
  }

  Matrix x;
  Matrix weight;
  Tensor bias;
};

inline double epsilon(DType dtype) { return dtype == DType::kF32 ? 0x1p-24 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8; }

// Half the spacing of subnormals; a subnormal may also be flushed to zero on the way to bfloat16.
inline double smallest(DType dtype) { return dtype == DType::kF16 ? 0x1p-25 : 0x1p-125; }

inline void expect_close(const Case& c, const Matrix& out, bool has_bias, const std::string& what) {
  const int64_t step = std::max<int64_t>(1, out.num_rows() * out.num_columns() / 4000);
  for (int64_t i = 0; i < out.num_rows() * out.num_columns(); i += step) {
    const int64_t r = i / out.num_columns();
    const int64_t column = i % out.num_columns();
    double sum = 0;
    double magnitude = 0;
    c.reference(r, column, has_bias, sum, magnitude);
    // Errors of a float32 sum grow like a random walk; then one rounding to the dtype.
    const double k = static_cast<double>(c.x.num_columns());
    const double tolerance = magnitude * 0x1p-24 * (4 + std::sqrt(k)) + std::abs(sum) * epsilon(out.view().dtype()) +
                             smallest(out.view().dtype());
    const double value = static_cast<double>(out.at(r, column));
    ASSERT_LE(std::abs(value - sum), tolerance)
        << what << " at [" << r << ", " << column << "]: " << value << ", not " << sum;
  }
  EXPECT_TRUE(out.guards_are_untouched()) << what;
}

}  // namespace cohort
