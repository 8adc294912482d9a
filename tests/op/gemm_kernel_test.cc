// Every kernel of the CPU product that this CPU can run: against double precision, and what it
// promises about bits.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>

#include "kernels/core/cpu_features.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/kernels.h"
#include "tests/op/gemm_testing.h"

namespace cohort {
namespace {

using gemm_internal::all_kernels;
using gemm_internal::choose_blocks;
using gemm_internal::is_supported;
using gemm_internal::Isa;
using gemm_internal::isa_name;
using gemm_internal::Kernel;
using gemm_internal::Problem;

// gemm() with the kernels of one instruction set.
void run(const Kernel& kernel, const Matrix& out, const Matrix& x, const PackedWeight& weight, ConstTensorView bias,
         Stream& stream) {
  if (out.num_rows() == 0 || out.num_columns() == 0) return;
  const Problem problem{.num_rows = x.num_rows(),
                        .n = weight.n(),
                        .k = weight.k(),
                        .num_chunks = weight.num_chunks(),
                        .dtype = weight.dtype(),
                        .num_threads = stream.num_threads()};
  run_gemm(choose_blocks(problem, kernel.isa), out.view(), x.view(), weight, bias, stream);
}

std::string describe(const Kernel& kernel, int64_t m, int64_t n, int64_t k) {
  return std::string(isa_name(kernel.isa)) + " " + std::string(dtype_name(kernel.dtype)) + " " + std::to_string(m) +
         "x" + std::to_string(n) + "x" + std::to_string(k);
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
    return PackedWeight::pack(weight.view(), WeightLayout::kOutIn, kernel().dtype, num_chunks, stream);
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
  for (auto [n, k, num_chunks] : {std::tuple{77, 96, 1}, {259, 1024, 16}, {40, 672, 2}, {33, 51, 1}}) {
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
        ASSERT_TRUE(out.row_equals(r, all, first + r)) << describe(kernel(), m, n, k) << " row " << r;
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
Matrix sum_of_ranks(const Kernel& kernel, const Case& c, int64_t begin, int64_t end, int num_chunks, int num_ranks,
                    Stream& stream) {
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

// Numbers of any magnitude between two powers of two.
void fill_wide(Matrix& matrix, int min_exponent, int max_exponent, unsigned seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<int> exponent(min_exponent, max_exponent);
  std::uniform_real_distribution<float> mantissa(1.0f, 2.0f);
  for (int64_t r = 0; r < matrix.num_rows(); ++r) {
    for (int64_t i = 0; i < matrix.num_columns(); ++i) {
      const float magnitude = std::ldexp(mantissa(rng), exponent(rng));
      matrix.set(r, i, rng() % 2 == 0 ? magnitude : -magnitude);
    }
  }
}

// AMX and its emulations: equal bits, or NaN in both.
void expect_same_bits(const Matrix& a, const Matrix& b, const std::string& what) {
  for (int64_t r = 0; r < a.num_rows(); ++r) {
    for (int64_t i = 0; i < a.num_columns(); ++i) {
      if (std::isnan(a.at(r, i)) && std::isnan(b.at(r, i))) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(a.at(r, i)), std::bit_cast<uint32_t>(b.at(r, i)))
          << what << " [" << r << ", " << i << "]: " << a.at(r, i) << ", " << b.at(r, i);
    }
  }
}

struct Exponents {
  int x_min, x_max, weight_min, weight_max;
};

// The portable kernels keep subnormals, where TDPBF16PS and those that stand for it do not.
bool keeps_subnormals(const Kernel& kernel) { return kernel.isa == Isa::kPortable && kernel.dtype == DType::kBF16; }

// The first supported kernel in the list to compare with; null for none.
const Kernel* sibling(const Kernel& kernel, bool has_subnormals) {
  for (const Kernel& other : all_kernels()) {
    if (other.isa == kernel.isa || other.dtype != kernel.dtype || other.order != kernel.order) continue;
    if (has_subnormals && (keeps_subnormals(kernel) || keeps_subnormals(other))) continue;
    if (is_supported(other.isa, cpu_features())) return &other;
  }
  return nullptr;
}

TEST_P(GemmKernel, KernelsOfOneOrderGiveTheSameBits) {
  Stream stream(kCpuDevice, 2);
  const Exponents ranges[] = {
      {-3, 3, -3, 3},        // ordinary numbers
      {-20, 20, -20, 20},    // large cancellations
      {-133, -60, -70, -1},  // bfloat16 subnormals, products and sums that underflow
      {-70, -62, -70, -58},  // sums around the smallest normal number
      {50, 66, 50, 64},      // overflow, and infinity minus infinity
  };
  for (const Exponents& range : ranges) {
    const bool has_subnormals = range.x_min < -20;
    if (kernel().dtype == DType::kF16 && (has_subnormals || range.x_max > 3)) continue;
    const Kernel* other = sibling(kernel(), has_subnormals);
    if (other == nullptr) continue;
    for (auto [m, n, k] : {std::tuple{1, 77, 512}, {3, 16, 32}, {5, 48, 259}, {40, 64, 1024}, {97, 33, 77}}) {
      Matrix x(kernel().dtype, m, k);
      Matrix weight(kernel().dtype, n, k);
      fill_wide(x, range.x_min, range.x_max, 1);
      fill_wide(weight, range.weight_min, range.weight_max, 2);
      const PackedWeight packed = pack(weight, 1, stream);
      const Matrix out(DType::kF32, m, n);
      const Matrix expected(DType::kF32, m, n);
      run(kernel(), out, x, packed, {}, stream);
      run(*other, expected, x, packed, {}, stream);
      expect_same_bits(out, expected,
                       describe(kernel(), m, n, k) + " and " + std::string(isa_name(other->isa)) + ", x from 2^" +
                           std::to_string(range.x_min));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(GemmKernel, DoesNotReadBeyondRowsOrSpreadNaN) {
  // NaN lies in all guards of x; one row of x is NaN, and only that row of out may be.
  Stream stream(kCpuDevice, 1);
  Case c(kernel().dtype, 9, 50, 45);
  c.x.set(4, 44, std::numeric_limits<float>::quiet_NaN());
  const Matrix out(kernel().dtype, 9, 50);
  run(kernel(), out, c.x, pack(c.weight, 1, stream), {}, stream);
  for (int64_t r = 0; r < 9; ++r) {
    for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(std::isnan(out.at(r, i)), r == 4) << r << ", " << i;
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

INSTANTIATE_TEST_SUITE_P(All, GemmKernel, testing::Range<size_t>(0, all_kernels().size()), kernel_test_name);

}  // namespace
}  // namespace cohort
