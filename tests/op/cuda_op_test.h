// What the tests share that run one op on the CPU and on a GPU and compare all bytes: rows inside of an allocation on
// either device, and comparisons that look around the rows as well.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "tests/op/op_test.h"

namespace cohort::test {

inline constexpr Device kCuda{DeviceKind::kCuda, 0};

// Rows of n elements within a larger allocation: `offset` elements before the first, `gap` behind each.
struct Layout {
  int64_t num_rows;
  int64_t n;
  int64_t offset = 0;
  int64_t gap = 0;

  int64_t stride() const { return n + gap; }
  int64_t num_elements() const { return offset + num_rows * stride() + 7; }
};

inline std::string name_of(const Layout& l, DType dtype) {
  return std::string(dtype_name(dtype)) + " " + std::to_string(l.num_rows) + " x " + std::to_string(l.n) + " at " +
         std::to_string(l.offset) + " + " + std::to_string(l.stride());
}

// An allocation on a device and the rows in it.
class Operand {
 public:
  Operand(const std::vector<char>& bytes, DType dtype, const Layout& layout, Device device)
      : num_bytes_(bytes.size()), storage_(DType::kU8, {static_cast<int64_t>(bytes.size())}, device) {
    copy_bytes(storage_->data(), device, bytes.data(), kCpuDevice, static_cast<int64_t>(bytes.size()));
    const TensorView all(storage_->data(), dtype, {layout.num_elements()}, device);
    view_ = all.slice(0, layout.offset, layout.offset + layout.num_rows * layout.stride())
                .reshape({layout.num_rows, layout.stride()})
                .slice(1, 0, layout.n);
  }

  TensorView view() const { return view_; }  // [num_rows, n]
  // The whole allocation, what is around the rows as well.
  std::vector<char> bytes() const {
    std::vector<char> all(num_bytes_);
    copy_bytes(all.data(), kCpuDevice, storage_->data(), storage_->device(), static_cast<int64_t>(num_bytes_));
    return all;
  }

 private:
  size_t num_bytes_;
  Tensor storage_;
  TensorView view_;
};

template <typename T>
T element_of(const std::vector<char>& bytes, int64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// The bytes of an allocation of normal values.
inline std::vector<char> random_bytes(DType dtype, int64_t num_elements, uint32_t seed, double spread = 1,
                                      double mean = 0) {
  const Tensor values(dtype, {1, num_elements});
  fill_random(values, seed, spread, mean);
  const auto* const data = static_cast<const char*>(values->data());
  return {data, data + values->num_bytes()};
}

// What an op's output begins as: NaN, between guards.
inline std::vector<char> poison(DType dtype, const Layout& layout) {
  std::vector<char> bytes(static_cast<size_t>(dtype_bytes(dtype, layout.num_elements())), '\xa5');
  for (int64_t row = 0; row < layout.num_rows; ++row) {
    std::memset(bytes.data() + dtype_bytes(dtype, layout.offset + row * layout.stride()), 0xff,
                static_cast<size_t>(dtype_bytes(dtype, layout.n)));
  }
  return bytes;
}

// The bytes of row i of an allocation.
inline std::string row_of(const std::vector<char>& bytes, DType dtype, const Layout& layout, int64_t i) {
  return {bytes.data() + dtype_bytes(dtype, layout.offset + i * layout.stride()),
          static_cast<size_t>(dtype_bytes(dtype, layout.n))};
}

// A dense tensor's copy on a device.
inline Tensor on_device(const ConstTensorView& x, Device device) {
  Tensor copy(x.dtype(), x.shape(), device);
  copy_bytes(copy->data(), device, x.data(), kCpuDevice, x.num_bytes());
  return copy;
}

// How many values of the dtype `a` is from `b`, both of 16 bits and not NaN.
inline int num_steps(uint16_t a, uint16_t b) {
  const auto place = [](uint16_t bits) { return (bits & 0x8000) != 0 ? -(bits & 0x7fff) : int{bits}; };
  return std::abs(place(a) - place(b));
}

// Whether one element is the other as far as float32 arithmetic in another order may tell: within
// relative * |expected| + absolute, or, of 16 bits, the next value.
template <typename T>
bool is_near(T actual, T expected, double relative, double absolute) {
  const double a = static_cast<float>(actual);
  const double b = static_cast<float>(expected);
  if (std::isnan(a) || std::isnan(b)) return false;
  if (a == b) return std::signbit(a) == std::signbit(b) || absolute > 0;
  if (std::abs(a - b) <= relative * std::abs(b) + absolute) return true;
  if constexpr (sizeof(T) == 2) return num_steps(actual.bits, expected.bits) <= 1;
  return false;
}

// Elements of the rows are near; bytes around them are equal. A NaN is never near.
inline void expect_near_bytes(std::vector<char> actual, const std::vector<char>& expected, DType dtype,
                              const Layout& layout, double relative, double absolute) {
  ASSERT_EQ(actual.size(), expected.size());
  dispatch_float(dtype, [&]<typename T>() {
    for (int64_t row = 0; row < layout.num_rows; ++row) {
      for (int64_t column = 0; column < layout.n; ++column) {
        const int64_t i = layout.offset + row * layout.stride() + column;
        const T a = element_of<T>(actual, i);
        const T b = element_of<T>(expected, i);
        ASSERT_TRUE(is_near(a, b, relative, absolute)) << "row " << row << ", column " << column << ": "
                                                       << static_cast<float>(a) << " for " << static_cast<float>(b);
        std::memcpy(actual.data() + i * static_cast<int64_t>(sizeof(T)), &b, sizeof(T));
      }
    }
  });
  if (testing::Test::HasFatalFailure()) return;  // rows after the one that differs were not looked at
  EXPECT_TRUE(actual == expected) << "wrote outside of its rows";
}

// Dense and strided, aligned for vectors and not, whole vectors and parts; many rows; one long row.
inline const std::vector<Layout> kRowLayouts = {
    {1, 1},
    {1, 3},
    {3, 64},
    {3, 64, 0, 16},
    {2, 64, 1, 0},
    {5, 67, 0, 5},
    {5, 67, 8, 5},
    {3, 100, 0, 12},
    {4, 100, 3},
    {2, 4097, 16, 7},
    {300, 24, 0, 8},
    {30000, 3},
    {30000, 2, 1},
    {0, 8},
    {5, 64, 4, 4},
    {1, (1 << 17) + 5},
    {2, (1 << 16) + 8, 0, 8},
};
// More than a grid has threads for, in either direction.
inline const std::vector<Layout> kLargeRowLayouts = {{1, (1 << 22) + 5}, {2, (1 << 20) + 8, 0, 8}, {600000, 3, 0, 1}};

// Skipped where there is no GPU.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
    stream_ = std::make_unique<Stream>(kCuda);
  }
  Stream& cuda() { return *stream_; }
  Stream& cpu() { return cpu_; }

 private:
  Stream cpu_{kCpuDevice, 2};
  std::unique_ptr<Stream> stream_;
};

}  // namespace cohort::test
