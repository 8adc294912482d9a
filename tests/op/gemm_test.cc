// The CPU product against a plain one in double precision, and what it promises about bits.
#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/core/cpu_features.h"
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

std::atomic<int64_t> num_allocations{0};

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
bool keeps_subnormals(const Kernel& kernel) {
  return kernel.isa == Isa::kPortable && kernel.dtype == DType::kBF16;
}

// The first supported kernel in the list to compare with; null for none.
const Kernel* sibling(const Kernel& kernel, bool has_subnormals) {
  for (const Kernel& other : all_kernels()) {
    if (other.isa == kernel.isa || other.dtype != kernel.dtype || other.order != kernel.order)
      continue;
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
    for (auto [m, n, k] :
         {std::tuple{1, 77, 512}, {3, 16, 32}, {5, 48, 259}, {40, 64, 1024}, {97, 33, 77}}) {
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
                       describe(kernel(), m, n, k) + " and " + std::string(isa_name(other->isa)) +
                           ", x from 2^" + std::to_string(range.x_min));
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

INSTANTIATE_TEST_SUITE_P(All, GemmKernel, testing::Range<size_t>(0, all_kernels().size()),
                         kernel_test_name);

// The plain path through the public function.
Matrix product(const Case& c, const PackedWeight& weight, DType out_dtype, Stream& stream) {
  Matrix out(out_dtype, c.x.num_rows(), weight.n());
  gemm(out.view(), c.x.view(), weight, c.bias, stream);
  return out;
}

TEST(Gemm, ChoosesAKernelAndGivesItsBits) {
  Stream stream(kCpuDevice, 2);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Case c(dtype, 130, 100, 192);
    const PackedWeight weight =
        PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, dtype, 4, stream);
    EXPECT_EQ(weight.n(), 100);
    EXPECT_EQ(weight.k(), 192);
    EXPECT_EQ(weight.num_chunks(), 4);
    const Matrix out = product(c, weight, dtype, stream);
    expect_close(c, out, true, std::string(dtype_name(dtype)));
    // Row counts on either side of every choice between kernels.
    for (int64_t m : {1, 2, 5, 7, 8, 15, 16, 17, 64}) {
      const Matrix some(dtype, m, 100);
      gemm(some.view(), c.x.rows(0, m), weight, c.bias, stream);
      for (int64_t r = 0; r < m; ++r) EXPECT_TRUE(some.row_equals(r, out, r)) << m << ", " << r;
    }
  }
}

TEST(Gemm, TakesWeightsOfEitherLayoutAndAnyDType) {
  Stream stream(kCpuDevice, 2);
  const Case c(DType::kBF16, 5, 35, 50);
  Matrix transposed(DType::kBF16, 50, 35);
  Matrix widened(DType::kF32, 35, 50);
  for (int64_t r = 0; r < 35; ++r) {
    for (int64_t i = 0; i < 50; ++i) {
      transposed.set(i, r, c.weight.at(r, i));
      widened.set(r, i, c.weight.at(r, i));
    }
  }
  const auto pack = [&](const Matrix& weight, WeightLayout layout) {
    return PackedWeight::pack(weight.view(), layout, DType::kBF16, 2, stream);
  };
  const Matrix expected = product(c, pack(c.weight, WeightLayout::kOutIn), DType::kF32, stream);
  EXPECT_TRUE(
      all_equal(product(c, pack(transposed, WeightLayout::kInOut), DType::kF32, stream), expected));
  EXPECT_TRUE(
      all_equal(product(c, pack(widened, WeightLayout::kOutIn), DType::kF32, stream), expected));
}

TEST(Gemm, EmptyProducts) {
  Stream stream(kCpuDevice, 1);
  const Case c(DType::kF32, 3, 4, 5);
  const PackedWeight weight =
      PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kF32, 1, stream);
  const Tensor no_rows(DType::kF32, Shape{0, 5});
  const Tensor no_out(DType::kF32, Shape{0, 4});
  gemm(no_out, no_rows, weight, {}, stream);

  const Tensor no_weight(DType::kF32, Shape{4, 0});
  const PackedWeight nothing =
      PackedWeight::pack(no_weight, WeightLayout::kOutIn, DType::kF32, 1, stream);
  const Tensor no_columns(DType::kF32, Shape{3, 0});
  const Matrix out(DType::kF32, 3, 4);
  gemm(out.view(), no_columns, nothing, c.bias, stream);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(out.at(2, i), c.bias->data<float>()[i]);
}

TEST(Gemm, ChecksItsArguments) {
  Stream stream(kCpuDevice, 1);
  const Case c(DType::kF32, 3, 4, 6);
  const auto pack = [&](int num_chunks) {
    return PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kF32, num_chunks,
                              stream);
  };
  EXPECT_THROW(pack(3), CheckError);
  EXPECT_THROW(pack(4), CheckError);
  const PackedWeight weight = pack(2);
  const Matrix out(DType::kF32, 3, 4);
  EXPECT_THROW(gemm(out.view(), c.weight.view(), weight, {}, stream), CheckError);
  const Matrix half(DType::kF16, 3, 6);
  EXPECT_THROW(gemm(out.view(), half.view(), weight, {}, stream), CheckError);
  EXPECT_THROW(gemm(half.view().slice(1, 0, 4), c.x.view(), weight, {}, stream), CheckError);
  const Tensor short_bias(DType::kF32, Shape{3});
  EXPECT_THROW(gemm(out.view(), c.x.view(), weight, short_bias, stream), CheckError);
}

TEST(Gemm, AllocatesNothing) {
  Stream stream(kCpuDevice, 2);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Case c(dtype, 70, 100, 192);
    const PackedWeight weight =
        PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, dtype, 4, stream);
    const Matrix out(dtype, 70, 100);
    const int64_t before = num_allocations.load();
    gemm(out.view(), c.x.view(), weight, c.bias, stream);
    EXPECT_EQ(num_allocations.load(), before);
  }
}

TEST(GemmPolicy, NumberOfChunks) {
  EXPECT_EQ(choose_num_chunks(4096, 128), 16);
  EXPECT_EQ(choose_num_chunks(704, 1), 16);
  EXPECT_EQ(choose_num_chunks(704, 32), 2);
  EXPECT_EQ(choose_num_chunks(14 * 64, 64), 2);
  EXPECT_EQ(choose_num_chunks(7, 1), 1);
  EXPECT_EQ(choose_num_chunks(16, 16), 1);
}

// One SumOrder for each CPU and dtype, or a row's bits would depend on how many rows there are.
TEST(GemmPolicy, OneOrderForEachCpu) {
  const CpuFeatures cpus[] = {{},
                              {.avx2 = true},
                              {.avx2 = true, .avx512 = true},
                              {.avx2 = true, .avx512 = true, .avx512_bf16 = true},
                              {.avx2 = true, .avx512 = true, .avx512_bf16 = true, .amx_bf16 = true},
                              {.avx2 = true, .avx512 = true, .amx_bf16 = true}};
  for (const CpuFeatures& cpu : cpus) {
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      Problem problem{.num_rows = 1, .n = 4096, .k = 4096, .dtype = dtype};
      const SumOrder order = find_kernel(choose_config(problem, cpu).isa, dtype).order;
      for (int64_t num_rows : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 1000}) {
        problem.num_rows = num_rows;
        const Config config = choose_config(problem, cpu);
        EXPECT_TRUE(is_supported(config.isa, cpu));
        EXPECT_EQ(find_kernel(config.isa, dtype).order, order) << num_rows;
      }
    }
  }
}

TEST(GemmPolicy, PicksTheWidestUnit) {
  Problem problem{.num_rows = 64, .n = 4096, .k = 4096, .dtype = DType::kBF16};
  EXPECT_EQ(choose_config(problem, {}).isa, Isa::kPortable);
  EXPECT_EQ(choose_config(problem, {.avx2 = true}).isa, Isa::kAvx2);
  EXPECT_EQ(choose_config(problem, {.avx2 = true, .avx512 = true}).isa, Isa::kAvx512);
  const CpuFeatures zen4{.avx2 = true, .avx512 = true, .avx512_bf16 = true};
  EXPECT_EQ(choose_config(problem, zen4).isa, Isa::kAvx512Bf16);
  CpuFeatures sapphire_rapids = zen4;
  sapphire_rapids.amx_bf16 = true;
  EXPECT_EQ(choose_config(problem, sapphire_rapids).isa, Isa::kAmx);
  problem.dtype = DType::kF32;
  EXPECT_EQ(choose_config(problem, sapphire_rapids).isa, Isa::kAvx512);
}

TEST(GemmPolicy, BlocksFitTheScratchAndCoverTheProblem) {
  for (const Kernel& kernel : all_kernels()) {
    for (int64_t num_rows : {1, 5, 64, 96, 97, 128, 1000}) {
      for (int num_chunks : {1, 2, 16, 1024}) {
        for (int num_threads : {1, 3, 64}) {
          const Config config = choose_blocks({.num_rows = num_rows,
                                               .n = 4000,
                                               .k = 4096,
                                               .num_chunks = num_chunks,
                                               .dtype = kernel.dtype,
                                               .num_threads = num_threads},
                                              kernel.isa);
          EXPECT_GE(config.block_rows, 1);
          EXPECT_LE(config.block_rows, gemm_internal::kMaxBlockRows);
          EXPECT_GE(config.block_panels, 1);
          const int64_t padded_rows = (config.block_rows + 15) / 16 * 16;
          EXPECT_LE(
              padded_rows * config.block_panels * 16 * gemm_internal::num_tree_levels(num_chunks),
              gemm_internal::kMaxScratchSums);
        }
      }
    }
  }
}

}  // namespace
}  // namespace cohort

// Counted, for Gemm.AllocatesNothing.
[[gnu::noinline]] void* operator new(size_t num_bytes) {
  cohort::num_allocations.fetch_add(1);
  if (void* data = std::malloc(num_bytes)) return data;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* data) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete(void* data, size_t) noexcept { std::free(data); }
