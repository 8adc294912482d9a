// The CPU product against a plain one in double precision, and what it promises about bits.
#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/gemm/kernels.h"

namespace cohort {
namespace {

using gemm_internal::all_kernels;
using gemm_internal::choose_blocks;
using gemm_internal::choose_config;
using gemm_internal::Config;
using gemm_internal::is_supported;
using gemm_internal::Isa;
using gemm_internal::isa_name;
using gemm_internal::Kernel;
using gemm_internal::Problem;
using gemm_internal::SumOrder;

constexpr int64_t kGuard =
    5;  // elements between the rows of x and out, which no one may read or write

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
    return dispatch_float(tensor_->dtype(),
                          [&]<typename T>() { return static_cast<float>(tensor_->row<T>(r)[c]); });
  }
  void set(int64_t r, int64_t c, float value) {
    dispatch_float(tensor_->dtype(),
                   [&]<typename T>() { tensor_->row<T>(r)[c] = static_cast<T>(value); });
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
    const auto* b =
        static_cast<const char*>(other.tensor_->data()) + other_r * other.stride_bytes();
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

bool all_equal(const Matrix& a, const Matrix& b) {
  for (int64_t r = 0; r < a.num_rows(); ++r) {
    if (!a.row_equals(r, b, r)) return false;
  }
  return true;
}

// gemm(), or the kernels of one instruction set.
void run(const Kernel& kernel, const Matrix& out, const Matrix& x, const PackedWeight& weight,
         ConstTensorView bias, Stream& stream) {
  if (out.num_rows() == 0 || out.num_columns() == 0) return;
  const Problem problem{.num_rows = x.num_rows(),
                        .n = weight.n(),
                        .k = weight.k(),
                        .num_chunks = weight.num_chunks(),
                        .dtype = weight.dtype(),
                        .num_threads = stream.num_threads()};
  run_gemm(choose_blocks(problem, kernel.isa), out.view(), x.view(), weight, bias, stream);
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

double epsilon(DType dtype) {
  return dtype == DType::kF32 ? 0x1p-24 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

// Half the spacing of subnormals; a subnormal may also be flushed to zero on the way to bfloat16.
double smallest(DType dtype) { return dtype == DType::kF16 ? 0x1p-25 : 0x1p-125; }

void expect_close(const Case& c, const Matrix& out, bool has_bias, const std::string& what) {
  const int64_t step = std::max<int64_t>(1, out.num_rows() * out.num_columns() / 4000);
  for (int64_t i = 0; i < out.num_rows() * out.num_columns(); i += step) {
    const int64_t r = i / out.num_columns();
    const int64_t column = i % out.num_columns();
    double sum = 0;
    double magnitude = 0;
    c.reference(r, column, has_bias, sum, magnitude);
    // Errors of a float32 sum grow like a random walk; then one rounding to the dtype.
    const double k = static_cast<double>(c.x.num_columns());
    const double tolerance = magnitude * 0x1p-24 * (4 + std::sqrt(k)) +
                             std::abs(sum) * epsilon(out.view().dtype()) +
                             smallest(out.view().dtype());
    const double value = static_cast<double>(out.at(r, column));
    ASSERT_LE(std::abs(value - sum), tolerance)
        << what << " at [" << r << ", " << column << "]: " << value << ", not " << sum;
  }
  EXPECT_TRUE(out.guards_are_untouched()) << what;
}

std::string describe(const Kernel& kernel, int64_t m, int64_t n, int64_t k) {
  return std::string(isa_name(kernel.isa)) + " " + std::string(dtype_name(kernel.dtype)) + " " +
         std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
}

class GemmKernel : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    if (!is_supported(kernel().isa, cpu_features())) {
      GTEST_SKIP() << "this CPU has no " << isa_name(kernel().isa);
    }
  }
  const Kernel& kernel() const { return all_kernels()[GetParam()]; }
  PackedWeight pack(const Matrix& weight, int num_chunks, Stream& stream) const {
    return PackedWeight::pack(weight.view(), WeightLayout::kOutIn, kernel().dtype, num_chunks,
                              stream);
  }
};

TEST_P(GemmKernel, MatchesDoublePrecision) {
  const int64_t sizes[] = {1, 3, 16, 17, 77, 259, 1003};
  for (int64_t n : sizes) {
    for (int64_t k : sizes) {
      for (int64_t m : {1, 2, 5, 7, 17, 64, 100}) {
        if (m * n * k > 4'000'000) continue;
        const Case c(kernel().dtype, m, n, k);
        const int num_threads = static_cast<int>(1 + (m + n + k) % 3);
        Stream stream(kCpuDevice, num_threads);
        const PackedWeight weight = pack(c.weight, 1, stream);
        const bool has_bias = (n + k) % 4 == 0;
        const ConstTensorView bias = has_bias ? ConstTensorView(c.bias) : ConstTensorView();
        for (DType out_dtype : {kernel().dtype, DType::kF32}) {
          const Matrix out(out_dtype, m, n);
          run(kernel(), out, c.x, weight, bias, stream);
          expect_close(c, out, has_bias, describe(kernel(), m, n, k));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(GemmKernel, RowBitsDoNotDependOnOtherRows) {
  const int64_t num_rows = 130;
  Stream stream(kCpuDevice, 2);
  for (auto [n, k, num_chunks] :
       {std::tuple{77, 96, 1}, {259, 1024, 16}, {40, 672, 2}, {33, 51, 1}}) {
    const Case c(kernel().dtype, num_rows, n, k);
    const PackedWeight weight = pack(c.weight, num_chunks, stream);
    const Matrix all(kernel().dtype, num_rows, n);
    run(kernel(), all, c.x, weight, c.bias, stream);
    for (int64_t m : {1, 2, 3, 4, 5, 7, 12, 13, 17, 64, 97}) {
      const int64_t first = (m * 37) % (num_rows - m);
      const Matrix out(kernel().dtype, m, n);
      Case part(kernel().dtype, m, n, k);
      for (int64_t r = 0; r < m; ++r) {
        for (int64_t i = 0; i < k; ++i) part.x.set(r, i, c.x.at(first + r, i));
      }
      run(kernel(), out, part.x, weight, c.bias, stream);
      for (int64_t r = 0; r < m; ++r) {
        ASSERT_TRUE(out.row_equals(r, all, first + r))
            << describe(kernel(), m, n, k) << " row " << r;
      }
    }
  }
}

TEST_P(GemmKernel, BitsDoNotDependOnThreads) {
  const int64_t m = 70;
  const int64_t n = 259;
  const int64_t k = 512;
  const Case c(kernel().dtype, m, n, k);
  Stream one(kCpuDevice, 1);
  const PackedWeight weight = pack(c.weight, 8, one);
  const Matrix expected(kernel().dtype, m, n);
  run(kernel(), expected, c.x, weight, c.bias, one);
  for (int num_threads : {2, 3}) {
    Stream stream(kCpuDevice, num_threads);
    const PackedWeight repacked = pack(c.weight, 8, stream);
    const Matrix out(kernel().dtype, m, n);
    run(kernel(), out, c.x, repacked, c.bias, stream);
    EXPECT_TRUE(all_equal(out, expected)) << num_threads;
  }
}

// A part [begin, end) of the columns, with guards of its own.
Matrix columns_of(const Matrix& matrix, int64_t begin, int64_t end) {
  Matrix part(matrix.view().dtype(), matrix.num_rows(), end - begin);
  for (int64_t r = 0; r < matrix.num_rows(); ++r) {
    for (int64_t i = begin; i < end; ++i) part.set(r, i - begin, matrix.at(r, i));
  }
  return part;
}

// What a rank with a contiguous part of the chunks computes, down to single chunks.
Matrix sum_of_ranks(const Kernel& kernel, const Case& c, int64_t begin, int64_t end, int num_chunks,
                    int num_ranks, Stream& stream) {
  const Matrix out(DType::kF32, c.x.num_rows(), c.weight.num_rows());
  if (num_ranks == 1) {
    const Matrix weight = columns_of(c.weight, begin, end);
    const PackedWeight packed =
        PackedWeight::pack(weight.view(), WeightLayout::kOutIn, kernel.dtype, num_chunks, stream);
    run(kernel, out, columns_of(c.x, begin, end), packed, {}, stream);
    return columns_of(out, 0, out.num_columns());
  }
  const int64_t middle = (begin + end) / 2;
  Matrix left = sum_of_ranks(kernel, c, begin, middle, num_chunks / 2, num_ranks / 2, stream);
  const Matrix right = sum_of_ranks(kernel, c, middle, end, num_chunks / 2, num_ranks / 2, stream);
  for (int64_t r = 0; r < left.num_rows(); ++r) {
    for (int64_t i = 0; i < left.num_columns(); ++i) left.set(r, i, left.at(r, i) + right.at(r, i));
  }
  return left;
}

TEST_P(GemmKernel, RanksOfChunksAddUpToTheSameBits) {
  Stream stream(kCpuDevice, 2);
  for (auto [m, n, k] : {std::tuple{1, 77, 1024}, {17, 64, 16 * 51}, {64, 33, 4096}}) {
    const Case c(kernel().dtype, m, n, k);
    const PackedWeight weight = pack(c.weight, 16, stream);
    const Matrix whole(DType::kF32, m, n);
    run(kernel(), whole, c.x, weight, {}, stream);
    for (int num_ranks : {1, 2, 4, 8, 16}) {
      const Matrix sum = sum_of_ranks(kernel(), c, 0, k, 16, num_ranks, stream);
      EXPECT_TRUE(all_equal(sum, whole)) << describe(kernel(), m, n, k) << " ranks " << num_ranks;
    }
  }
}

std::string kernel_test_name(const testing::TestParamInfo<size_t>& info) {
  const Kernel& kernel = all_kernels()[info.param];
  std::string name;
  for (char c : std::string(isa_name(kernel.isa)) + "_" + std::string(dtype_name(kernel.dtype))) {
    name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, GemmKernel, testing::Range<size_t>(0, all_kernels().size()),
                         kernel_test_name);

}  // namespace
}  // namespace cohort
