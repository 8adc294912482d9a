#include "kernels/elementwise/elementwise.h"

#include <bit>
#include <functional>
#include <limits>

#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

// Dense and strided, aligned for vectors and not, whole vectors and parts; many rows; rows longer than a CPU thread
// takes.
const std::vector<Layout> kLayouts = {
    {1, 1},
    {1, 3},
    {3, 64},
    {3, 64, 0, 16},
    {2, 64, 1, 0},
    {5, 67, 0, 5},
    {5, 67, 8, 5},
    {4, 100, 3},
    {2, 4097, 16, 7},
    {300, 24, 0, 8},
    {30000, 3},
    {30000, 2, 1, 1},
    {1, (1 << 17) + 5},
    {2, (1 << 16) + 5, 0, 3},
};
// More than a grid has threads for, in either direction.
const std::vector<Layout> kLargeLayouts = {{1, (1 << 22) + 5}, {2, (1 << 20) + 5, 1, 3}, {600000, 3, 0, 1}};

// Of every magnitude that float16 has, with ties of the rounding to float16 and bfloat16, sums that overflow float16,
// and zeros of both signs. No NaN: which one an addition gives is up to the hardware.
float some_value(std::mt19937& rng) {
  const uint32_t kind = rng() % 32;
  const float sign = rng() % 2 == 0 ? 1.0f : -1.0f;
  if (kind == 0) return sign * 65504.0f;
  if (kind == 1) return sign * 0.0f;
  if (kind == 2) return sign * (1.0f + static_cast<float>(rng() % 16) * 0x1p-11f);
  if (kind == 3) return sign * (1.0f + static_cast<float>(rng() % 16) * 0x1p-8f);
  return sign * std::ldexp(static_cast<float>(rng() % 65536), static_cast<int>(rng() % 40) - 40);
}

// The bytes of an allocation of float elements.
std::vector<char> float_bytes(DType dtype, int64_t num_elements, uint32_t seed) {
  std::vector<char> bytes(static_cast<size_t>(dtype_bytes(dtype, num_elements)));
  std::mt19937 rng(seed);
  dispatch_float(dtype, [&]<typename T>() {
    for (int64_t i = 0; i < num_elements; ++i) {
      const T value(some_value(rng));
      std::memcpy(bytes.data() + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
    }
  });
  return bytes;
}

std::vector<char> any_bytes(DType dtype, int64_t num_elements, uint32_t seed) {
  std::vector<char> bytes(static_cast<size_t>(dtype_bytes(dtype, num_elements)));
  std::mt19937 rng(seed);
  for (char& byte : bytes) byte = static_cast<char>(rng());
  return bytes;
}

// What is there before, with expected(index of an element of the allocation, column) in place of the rows' elements.
template <typename T, typename F>
std::vector<char> with_rows(std::vector<char> bytes, const Layout& layout, F&& expected) {
  for (int64_t row = 0; row < layout.num_rows; ++row) {
    for (int64_t column = 0; column < layout.n; ++column) {
      const int64_t i = layout.offset + row * layout.stride() + column;
      const T value = expected(i, column);
      std::memcpy(bytes.data() + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
    }
  }
  return bytes;
}

// Each runs an op on a device and returns all bytes of what it wrote to, for the CPU and the GPU to be compared.
std::vector<char> run_add(DType dtype, const Layout& layout, Stream& stream) {
  const Operand sums(float_bytes(dtype, layout.num_elements(), 1), dtype, layout, stream.device());
  const Operand x(float_bytes(dtype, layout.num_elements(), 2), dtype, layout, stream.device());
  add(sums.view(), x.view(), stream);
  stream.synchronize();
  return sums.bytes();
}

std::vector<char> run_add_bias(DType dtype, const Layout& layout, bool has_bias, Stream& stream) {
  const Device device = stream.device();
  const Layout bias_layout{1, layout.n, layout.offset};
  const Operand out(float_bytes(dtype, layout.num_elements(), 1), dtype, layout, device);
  const Operand sums(float_bytes(DType::kF32, layout.num_elements(), 2), DType::kF32, layout, device);
  const Operand bias(float_bytes(DType::kF32, bias_layout.num_elements(), 3), DType::kF32, bias_layout, device);
  add_bias(out.view(), sums.view(), has_bias ? bias.view().reshape({layout.n}) : TensorView(), stream);
  stream.synchronize();
  return out.bytes();
}

std::vector<char> run_copy_rows(DType dtype, const Layout& out_layout, const Layout& layout, Stream& stream) {
  const Operand out(any_bytes(dtype, out_layout.num_elements(), 1), dtype, out_layout, stream.device());
  const Operand x(any_bytes(dtype, layout.num_elements(), 2), dtype, layout, stream.device());
  copy_rows(out.view(), x.view(), stream);
  stream.synchronize();
  return out.bytes();
}

std::vector<char> run_scale(DType dtype, const Layout& layout, float factor, Stream& stream) {
  const Operand x(float_bytes(dtype, layout.num_elements(), 1), dtype, layout, stream.device());
  scale(x.view(), factor, stream);
  stream.synchronize();
  return x.bytes();
}

std::vector<char> run_soft_cap(DType dtype, const Layout& layout, float cap, Stream& stream) {
  const Operand x(random_bytes(dtype, layout.num_elements(), 1, 40), dtype, layout, stream.device());
  soft_cap(x.view(), cap, stream);
  stream.synchronize();
  return x.bytes();
}

void for_each_case(const std::vector<Layout>& layouts, const std::function<void(DType, const Layout&)>& body) {
  for (const DType dtype : kFloatDTypes) {
    for (const Layout& layout : layouts) {
      SCOPED_TRACE(name_of(layout, dtype));
      body(dtype, layout);
    }
  }
}

constexpr DType kCopiedDTypes[] = {DType::kU8, DType::kF8E4M3, DType::kBF16, DType::kF32, DType::kI64};

TEST(Elementwise, AddsAsFloat32AndRoundsOnce) {
  for_each_case(kLayouts, [](DType dtype, const Layout& layout) {
    const std::vector<char> sums = float_bytes(dtype, layout.num_elements(), 1);
    const std::vector<char> x = float_bytes(dtype, layout.num_elements(), 2);
    dispatch_float(dtype, [&]<typename T>() {
      const std::vector<char> expected = with_rows<T>(sums, layout, [&](int64_t i, int64_t) {
        return T(static_cast<float>(element_of<T>(sums, i)) + static_cast<float>(element_of<T>(x, i)));
      });
      for (const int num_threads : kThreadCounts) {
        Stream stream(kCpuDevice, num_threads);
        EXPECT_TRUE(run_add(dtype, layout, stream) == expected);
      }
    });
  });
}

TEST(Elementwise, AddsABiasToEveryRow) {
  for_each_case(kLayouts, [](DType dtype, const Layout& layout) {
    const std::vector<char> out = float_bytes(dtype, layout.num_elements(), 1);
    const std::vector<char> sums = float_bytes(DType::kF32, layout.num_elements(), 2);
    const std::vector<char> bias = float_bytes(DType::kF32, Layout{1, layout.n, layout.offset}.num_elements(), 3);
    dispatch_float(dtype, [&]<typename T>() {
      for (const bool has_bias : {false, true}) {
        const std::vector<char> expected = with_rows<T>(out, layout, [&](int64_t i, int64_t column) {
          const float sum = element_of<float>(sums, i);
          return T(has_bias ? sum + element_of<float>(bias, layout.offset + column) : sum);
        });
        for (const int num_threads : kThreadCounts) {
          Stream stream(kCpuDevice, num_threads);
          EXPECT_TRUE(run_add_bias(dtype, layout, has_bias, stream) == expected);
        }
      }
    });
  });
}

TEST(Elementwise, CopiesRowsOfAnyWidth) {
  for (const DType dtype : kCopiedDTypes) {
    for (const Layout& layout : kLayouts) {
      SCOPED_TRACE(name_of(layout, dtype));
      const Layout out_layout{layout.num_rows, layout.n, 1, layout.gap + 2};
      const std::vector<char> x = any_bytes(dtype, layout.num_elements(), 2);
      std::vector<char> expected = any_bytes(dtype, out_layout.num_elements(), 1);
      for (int64_t row = 0; row < layout.num_rows; ++row) {
        std::memcpy(expected.data() + dtype_bytes(dtype, out_layout.offset + row * out_layout.stride()),
                    x.data() + dtype_bytes(dtype, layout.offset + row * layout.stride()),
                    static_cast<size_t>(dtype_bytes(dtype, layout.n)));
      }
      for (const int num_threads : kThreadCounts) {
        Stream stream(kCpuDevice, num_threads);
        EXPECT_TRUE(run_copy_rows(dtype, out_layout, layout, stream) == expected);
      }
    }
  }
}

TEST(Elementwise, ScalesInFloat32AndRoundsOnce) {
  constexpr float kFactor = 1.0f / 3;
  for_each_case(kLayouts, [](DType dtype, const Layout& layout) {
    const std::vector<char> x = float_bytes(dtype, layout.num_elements(), 1);
    dispatch_float(dtype, [&]<typename T>() {
      const std::vector<char> expected = with_rows<T>(
          x, layout, [&](int64_t i, int64_t) { return T(static_cast<float>(element_of<T>(x, i)) * kFactor); });
      for (const int num_threads : kThreadCounts) {
        Stream stream(kCpuDevice, num_threads);
        EXPECT_TRUE(run_scale(dtype, layout, kFactor, stream) == expected);
      }
    });
  });
}

// What float32 loses in tanh and beside it.
constexpr double kCapTolerance = 4e-7;

TEST(Elementwise, CapsSoftly) {
  for_each_case(kLayouts, [](DType dtype, const Layout& layout) {
    const std::vector<char> x = random_bytes(dtype, layout.num_elements(), 1, 40);
    dispatch_float(dtype, [&]<typename T>() {
      for (const float cap : {1.5f, 30.0f, 50.0f}) {
        const std::vector<char> expected = with_rows<T>(x, layout, [&](int64_t i, int64_t) {
          const double value = static_cast<float>(element_of<T>(x, i));
          return T(static_cast<float>(cap * std::tanh(value / cap)));
        });
        Stream stream(kCpuDevice, 2);
        expect_near_bytes(run_soft_cap(dtype, layout, cap, stream), expected, dtype, layout, kCapTolerance, 0);
      }
    });
  });
}

// Values of every magnitude, subnormal and infinite, of both signs.
TEST(Elementwise, CapsSoftlyAtTheEdges) {
  Stream stream(kCpuDevice, 1);
  for (int exponent = -140; exponent <= 127; ++exponent) {
    const float value = std::ldexp(1.1f, exponent);
    const Tensor x(DType::kF32, {2});
    x->data<float>()[0] = value;
    x->data<float>()[1] = -value;
    soft_cap(x, 2, stream);
    const double expected = 2 * std::tanh(double{value} / 2);
    EXPECT_NEAR(x->data<float>()[0], expected, kCapTolerance * expected + 3e-45) << exponent;
    EXPECT_EQ(x->data<float>()[1], -x->data<float>()[0]);
  }
  const Tensor x(DType::kF32, {4});
  const float infinity = std::numeric_limits<float>::infinity();
  const float edges[] = {infinity, -infinity, -0.0f, std::nanf("")};
  std::memcpy(x->data(), edges, sizeof(edges));
  soft_cap(x, 30, stream);
  EXPECT_EQ(x->data<float>()[0], 30);
  EXPECT_EQ(x->data<float>()[1], -30);
  EXPECT_EQ(x->data<float>()[2], 0);
  EXPECT_TRUE(std::isnan(x->data<float>()[3]));
}

void expect_empty_is_nothing(Stream& stream) {
  for (const Shape& shape : {Shape{0}, Shape{0, 5}, Shape{5, 0}}) {
    const Tensor x(DType::kF32, shape, stream.device());
    EXPECT_NO_THROW(add(x, x, stream));
    EXPECT_NO_THROW(add_bias(x, x, {}, stream));
    EXPECT_NO_THROW(copy_rows(x, x, stream));
    EXPECT_NO_THROW(scale(x, 2, stream));
    EXPECT_NO_THROW(soft_cap(x, 2, stream));
  }
  EXPECT_NO_THROW(stream.synchronize());
}

TEST(Elementwise, EmptyIsNothing) {
  Stream stream(kCpuDevice, 2);
  expect_empty_is_nothing(stream);
}

TEST(Elementwise, RefusesWhatDoesNotFit) {
  Stream stream(kCpuDevice, 1);
  const Tensor x(DType::kF32, {2, 3});
  const Tensor other_shape(DType::kF32, {3, 2});
  const Tensor other_dtype(DType::kF16, {2, 3});
  const Tensor half_bytes(DType::kI4, {2, 4});
  const Tensor ids(DType::kI32, {2, 3});
  const Tensor cube(DType::kF32, {2, 3, 4});
  EXPECT_THROW(add(x, other_shape, stream), CheckError);
  EXPECT_THROW(add(x, other_dtype, stream), CheckError);
  EXPECT_THROW(add(ids, ids, stream), CheckError);
  EXPECT_THROW(add(cube, cube, stream), CheckError);
  EXPECT_THROW(add_bias(x, other_dtype, {}, stream), CheckError);
  EXPECT_THROW(add_bias(x, x, Tensor(DType::kF32, {2}), stream), CheckError);
  EXPECT_THROW(add_bias(x, x, Tensor(DType::kF16, {3}), stream), CheckError);
  EXPECT_THROW(copy_rows(x, other_dtype, stream), CheckError);
  EXPECT_THROW(copy_rows(half_bytes, half_bytes, stream), CheckError);
  EXPECT_THROW(scale(ids, 2, stream), CheckError);
  EXPECT_THROW(scale(cube, 2, stream), CheckError);
  EXPECT_THROW(soft_cap(cube, 2, stream), CheckError);
  EXPECT_THROW(soft_cap(x, 0, stream), CheckError);
}

// The GPU's bits are the CPU's, around the rows as well.
class ElementwiseCuda : public CudaTest {
 protected:
  std::vector<Layout> layouts() const {
    std::vector<Layout> all = kLayouts;
    all.insert(all.end(), kLargeLayouts.begin(), kLargeLayouts.end());
    return all;
  }
};

TEST_F(ElementwiseCuda, AddsLikeTheCpu) {
  for_each_case(layouts(), [&](DType dtype, const Layout& layout) {
    EXPECT_TRUE(run_add(dtype, layout, cuda()) == run_add(dtype, layout, cpu()));
  });
}

TEST_F(ElementwiseCuda, AddsABiasLikeTheCpu) {
  for_each_case(layouts(), [&](DType dtype, const Layout& layout) {
    for (const bool has_bias : {false, true}) {
      EXPECT_TRUE(run_add_bias(dtype, layout, has_bias, cuda()) == run_add_bias(dtype, layout, has_bias, cpu()));
    }
  });
}

TEST_F(ElementwiseCuda, CopiesRowsLikeTheCpu) {
  for (const DType dtype : kCopiedDTypes) {
    for (const Layout& layout : layouts()) {
      SCOPED_TRACE(name_of(layout, dtype));
      const Layout spread{layout.num_rows, layout.n, 1, layout.gap + 2};
      EXPECT_TRUE(run_copy_rows(dtype, spread, layout, cuda()) == run_copy_rows(dtype, spread, layout, cpu()));
      EXPECT_TRUE(run_copy_rows(dtype, layout, layout, cuda()) == run_copy_rows(dtype, layout, layout, cpu()));
    }
  }
}

TEST_F(ElementwiseCuda, ScalesLikeTheCpu) {
  for_each_case(layouts(), [&](DType dtype, const Layout& layout) {
    EXPECT_TRUE(run_scale(dtype, layout, 1.0f / 3, cuda()) == run_scale(dtype, layout, 1.0f / 3, cpu()));
  });
}

TEST_F(ElementwiseCuda, CapsSoftlyLikeTheCpu) {
  for_each_case(layouts(), [&](DType dtype, const Layout& layout) {
    expect_near_bytes(run_soft_cap(dtype, layout, 30, cuda()), run_soft_cap(dtype, layout, 30, cpu()), dtype, layout,
                      2 * kCapTolerance, 0);
  });
}

TEST_F(ElementwiseCuda, EmptyIsNothing) { expect_empty_is_nothing(cuda()); }

}  // namespace
}  // namespace cohort
