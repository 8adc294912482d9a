// What the tests of ops share: random tensors, tensors inside of guards, double precision values,
// comparisons.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::test {

inline constexpr DType kFloatDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
inline constexpr int kThreadCounts[] = {1, 2, 3};

// Rounds to nearest once: what an op may lose at its end. The rest of a tolerance is float32
// arithmetic.
inline double rounding_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 0x1p-11;
    case DType::kBF16:
      return 0x1p-8;
    default:
      return 0x1p-24;
  }
}

// A tensor whose rows lie in a wider allocation: the bytes around them are guards, the rows begin
// as NaN.
class GuardedTensor {
 public:
  // [rows, columns], or [rows, columns / last, last] when `last` is given.
  GuardedTensor(DType dtype, int64_t rows, int64_t columns, int64_t last = 0)
      : columns_(columns), storage_(dtype, {rows + 2, columns + 2 * kMargin}) {
    std::memset(storage_->data(), 0xa5, static_cast<size_t>(storage_->num_bytes()));
    view_ = storage_.view().slice(0, 1, rows + 1).slice(1, kMargin, kMargin + columns);
    for (int64_t i = 0; i < rows; ++i) std::memset(row_bytes(i), 0xff, num_row_bytes());
    if (last > 0) view_ = view_.reshape({rows, columns / last, last});
  }

  TensorView view() const { return view_; }
  operator TensorView() const { return view_; }       // NOLINT: a tensor is used as its view
  operator ConstTensorView() const { return view_; }  // NOLINT: likewise
  int64_t num_rows() const { return view_.dim(0); }
  size_t num_row_bytes() const { return static_cast<size_t>(dtype_bytes(storage_->dtype(), columns_)); }
  char* row_bytes(int64_t i) const {
    return static_cast<char*>(view_.data()) + dtype_bytes(storage_->dtype(), i * view_.stride(0));
  }
  std::string bytes_of_row(int64_t i) const { return {row_bytes(i), num_row_bytes()}; }
  std::string bytes() const {
    std::string all;
    for (int64_t i = 0; i < num_rows(); ++i) all += bytes_of_row(i);
    return all;
  }

  void expect_guards_untouched() const {
    std::vector<char> expected(static_cast<size_t>(storage_->num_bytes()), '\xa5');
    std::vector<char> got(expected.size());
    std::memcpy(got.data(), storage_->data(), got.size());
    const auto* const base = static_cast<const char*>(storage_->data());
    for (int64_t i = 0; i < num_rows(); ++i) {
      std::memcpy(expected.data() + (row_bytes(i) - base), row_bytes(i), num_row_bytes());
    }
    EXPECT_TRUE(expected == got) << "wrote outside of its rows";
  }

 private:
  static constexpr int64_t kMargin = 5;  // odd, so that rows are not aligned
  int64_t columns_;
  Tensor storage_;
  TensorView view_;
};

// Any float dtype, any rank up to 3, rows strided or not.
inline std::vector<double> values_of(const ConstTensorView& x) {
  std::vector<double> values;
  const int64_t num_rows = x.rank() == 0 ? 1 : x.dim(0);
  const int64_t num_columns = num_rows == 0 ? 0 : x.num_elements() / num_rows;
  dispatch_float(x.dtype(), [&]<typename T>() {
    for (int64_t i = 0; i < num_rows; ++i) {
      const T* const row = x.data<T>() + i * x.stride(0);
      for (int64_t j = 0; j < num_columns; ++j) values.push_back(static_cast<float>(row[j]));
    }
  });
  return values;
}

template <typename F>
void fill(const TensorView& x, F&& value) {
  const int64_t num_columns = x.dim(0) == 0 ? 0 : x.num_elements() / x.dim(0);
  dispatch_float(x.dtype(), [&]<typename T>() {
    for (int64_t i = 0; i < x.dim(0); ++i) {
      T* const row = x.data<T>() + i * x.stride(0);
      for (int64_t j = 0; j < num_columns; ++j) row[j] = T(static_cast<float>(value()));
    }
  });
}

// Normal values of the given spread around `mean`.
inline void fill_random(const TensorView& x, uint32_t seed, double spread = 1, double mean = 0) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal(mean, spread);
  fill(x, [&] { return normal(rng); });
}

inline Tensor random_floats(int64_t n, uint32_t seed, double spread = 1, double mean = 0) {
  Tensor x(DType::kF32, {n});
  fill_random(x, seed, spread, mean);
  return x;
}

inline Tensor int32_tensor(const std::vector<int32_t>& values) {
  Tensor x(DType::kI32, {static_cast<int64_t>(values.size())});
  if (!values.empty()) std::memcpy(x->data(), values.data(), values.size() * sizeof(int32_t));
  return x;
}

// Of a dense tensor, on any device.
inline std::vector<int32_t> int32_values_of(const ConstTensorView& x) {
  std::vector<int32_t> values(static_cast<size_t>(x.num_elements()));
  copy_bytes(values.data(), kCpuDevice, x.data(), x.device(), x.num_bytes());
  return values;
}

inline Tensor int64_tensor(const std::vector<int64_t>& values) {
  Tensor x(DType::kI64, {static_cast<int64_t>(values.size())});
  if (!values.empty()) std::memcpy(x->data(), values.data(), values.size() * sizeof(int64_t));
  return x;
}

// Every element within relative * |expected| + absolute. Names the first that is not; a NaN never
// is.
inline void expect_near(const ConstTensorView& actual, const std::vector<double>& expected, double relative,
                        double absolute) {
  const std::vector<double> got = values_of(actual);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed = relative * std::abs(expected[i]) + absolute;
    ASSERT_LE(std::abs(got[i] - expected[i]), allowed) << "element " << i << ": " << got[i] << " for " << expected[i];
  }
}

}  // namespace cohort::test
