#include "kernels/activation/activation.h"

#include <limits>

#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr Activation kActivations[] = {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSilu,
                                       Activation::kTanh};

double reference(Activation activation, double x) {
  switch (activation) {
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      // 1 + tanh(u), without its cancellation
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kTanh:
      return std::tanh(x);
  }
  return 0;
}

double relative_tolerance(DType dtype) { return 1.01 * rounding_of(dtype) + 1e-6; }
// Subnormals of float16; far tails, where an exponent rounded to float32 costs a few bits.
double absolute_tolerance(DType dtype) { return dtype == DType::kF16 ? 0x1p-24 : 1e-8; }

template <typename F>
void for_each_case(F&& f) {
  for (const Activation activation : kActivations) {
    for (const DType dtype : kFloatDTypes) {
      for (const int64_t n : {1, 3, 5, 8, 17, 77, 257}) {
        for (const int64_t rows : {0, 1, 9}) f(activation, dtype, n, rows);
      }
    }
  }
}

TEST(Activation, PlainAgreesWithDoublePrecision) {
  Stream stream(kCpuDevice, 2);
  for_each_case([&](Activation activation, DType dtype, int64_t n, int64_t rows) {
    GuardedTensor x(dtype, rows, n);
    GuardedTensor out(dtype, rows, n);
    fill_random(x, 1, 3);
    std::vector<double> expected = values_of(x.view());
    for (double& v : expected) v = reference(activation, v);
    activate(out, x, activation, stream);
    expect_near(out, expected, relative_tolerance(dtype), absolute_tolerance(dtype));
    out.expect_guards_untouched();
    activate(x, x, activation, stream);
    EXPECT_EQ(x.bytes(), out.bytes());
    x.expect_guards_untouched();
  });
}

TEST(Activation, GatedAgreesWithDoublePrecision) {
  Stream stream(kCpuDevice, 2);
  for_each_case([&](Activation activation, DType dtype, int64_t n, int64_t rows) {
    GuardedTensor gate_up(dtype, rows, 2 * n);
    GuardedTensor out(dtype, rows, n);
    fill_random(gate_up, 1, 3);
    const std::vector<double> gate = values_of(gate_up.view().slice(1, 0, n));
    const std::vector<double> up = values_of(gate_up.view().slice(1, n, 2 * n));
    std::vector<double> expected;
    for (size_t i = 0; i < gate.size(); ++i) {
      expected.push_back(reference(activation, gate[i]) * up[i]);
    }
    activate_gated(out, gate_up, activation, stream);
    expect_near(out, expected, relative_tolerance(dtype), 10 * absolute_tolerance(dtype));
    out.expect_guards_untouched();
  });
}

TEST(Activation, BitsOfARowDependOnNothingElse) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kWidth = 301;
  for (const Activation activation : kActivations) {
    for (const DType dtype : kFloatDTypes) {
      GuardedTensor x(dtype, kRows, 2 * kWidth);
      fill_random(x, 2, 3);
      std::string bits;
      for (const int num_threads : kThreadCounts) {
        Stream stream(kCpuDevice, num_threads);
        GuardedTensor out(dtype, kRows, kWidth);
        activate_gated(out, x, activation, stream);
        if (bits.empty()) bits = out.bytes();
        EXPECT_EQ(bits, out.bytes());
        GuardedTensor alone(dtype, 1, kWidth);
        activate_gated(alone, x.view().slice(0, 11, 12), activation, stream);
        EXPECT_EQ(alone.bytes(), out.bytes_of_row(11));
      }
    }
  }
}

TEST(Activation, LargeAndNanInputs) {
  Stream stream(kCpuDevice, 1);
  for (const Activation activation : kActivations) {
    GuardedTensor x(DType::kF32, 1, 4);
    const float inputs[] = {1e4f, -1e4f, 0.0f, std::numeric_limits<float>::quiet_NaN()};
    std::memcpy(x.row_bytes(0), inputs, sizeof(inputs));
    activate(x, x, activation, stream);
    const std::vector<double> got = values_of(x.view());
    const bool is_bounded = activation == Activation::kTanh;
    EXPECT_EQ(got[0], is_bounded ? 1 : 1e4);
    EXPECT_EQ(got[1], is_bounded ? -1 : 0);
    EXPECT_EQ(got[2], 0);
    EXPECT_TRUE(std::isnan(got[3]));
  }
}

TEST(Activation, NamesOfConfigJson) {
  EXPECT_EQ(activation_from_name("silu"), Activation::kSilu);
  EXPECT_EQ(activation_from_name("swish"), Activation::kSilu);
  EXPECT_EQ(activation_from_name("tanh"), Activation::kTanh);
  EXPECT_EQ(activation_from_name("relu"), Activation::kRelu);
  EXPECT_EQ(activation_from_name("gelu"), Activation::kGelu);
  EXPECT_EQ(activation_from_name("gelu_new"), Activation::kGeluTanh);
  EXPECT_EQ(activation_from_name("gelu_pytorch_tanh"), Activation::kGeluTanh);
  EXPECT_EQ(activation_from_name("quick_gelu"), std::nullopt);
  EXPECT_EQ(activation_from_name(""), std::nullopt);
}

TEST(Activation, RefusesShapesThatDiffer) {
  Stream stream(kCpuDevice, 1);
  GuardedTensor x(DType::kF32, 2, 6);
  GuardedTensor out(DType::kF32, 2, 4);
  EXPECT_THROW(activate(out, x, Activation::kRelu, stream), CheckError);
  EXPECT_THROW(activate_gated(out, x, Activation::kRelu, stream), CheckError);
}

}  // namespace
}  // namespace cohort
