#include "kernels/norm/norm.h"

#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr float kEps = 1e-5f;
constexpr int64_t kHiddens[] = {1, 3, 5, 8, 17, 31, 32, 33, 64, 77, 257, 1000};

enum class Kind { kRms, kLayer, kLayerNoBias };
constexpr Kind kKinds[] = {Kind::kRms, Kind::kLayer, Kind::kLayerNoBias};

struct Weights {
  explicit Weights(int64_t hidden) : weight(random_floats(hidden, 1, 0.5, 1)), bias(random_floats(hidden, 2, 0.5)) {}
  ConstTensorView bias_of(Kind kind) const { return kind == Kind::kLayer ? ConstTensorView(bias) : ConstTensorView(); }
  Tensor weight;
  Tensor bias;
};

void run(Kind kind, TensorView out, ConstTensorView x, const Weights& w, Stream& stream) {
  if (kind == Kind::kRms) {
    rms_norm(out, x, w.weight, kEps, stream);
  } else {
    layer_norm(out, x, w.weight, w.bias_of(kind), kEps, stream);
  }
}

void run_add(Kind kind, TensorView out, TensorView residual, ConstTensorView x, const Weights& w, Stream& stream) {
  if (kind == Kind::kRms) {
    add_rms_norm(out, residual, x, w.weight, kEps, stream);
  } else {
    add_layer_norm(out, residual, x, w.weight, w.bias_of(kind), kEps, stream);
  }
}

std::vector<double> reference(Kind kind, const std::vector<double>& x, const Weights& w) {
  const std::vector<double> weight = values_of(w.weight);
  const std::vector<double> bias = values_of(w.bias);
  const size_t n = weight.size();
  std::vector<double> out(x.size());
  for (size_t row = 0; row < x.size(); row += n) {
    double mean = 0;
    double square = 0;
    if (kind != Kind::kRms) {
      for (size_t i = 0; i < n; ++i) mean += x[row + i] / static_cast<double>(n);
    }
    for (size_t i = 0; i < n; ++i) square += std::pow(x[row + i] - mean, 2);
    const double scale = 1 / std::sqrt(square / static_cast<double>(n) + kEps);
    for (size_t i = 0; i < n; ++i) {
      out[row + i] = (x[row + i] - mean) * scale * weight[i];
      if (kind == Kind::kLayer) out[row + i] += bias[i];
    }
  }
  return out;
}

// What float32 loses of values near 1 with a mean of up to 3.
void expect_near_reference(const ConstTensorView& out, const std::vector<double>& expected) {
  expect_near(out, expected, 1.01 * rounding_of(out.dtype()) + 2e-6, 4e-6);
}

template <typename F>
void for_each_case(F&& f) {
  for (const Kind kind : kKinds) {
    for (const DType dtype : kFloatDTypes) {
      for (const int64_t hidden : kHiddens) {
        for (const int64_t rows : {0, 1, 7}) f(kind, dtype, hidden, rows);
      }
    }
  }
}

TEST(Norm, AgreesWithDoublePrecision) {
  Stream stream(kCpuDevice, 2);
  for_each_case([&](Kind kind, DType dtype, int64_t hidden, int64_t rows) {
    const Weights w(hidden);
    GuardedTensor x(dtype, rows, hidden);
    GuardedTensor out(dtype, rows, hidden);
    fill_random(x, 3, 1, 3);
    run(kind, out, x, w, stream);
    expect_near_reference(out, reference(kind, values_of(x.view()), w));
    out.expect_guards_untouched();
    x.expect_guards_untouched();
  });
}

TEST(Norm, InPlaceGivesTheSameBits) {
  Stream stream(kCpuDevice, 2);
  for_each_case([&](Kind kind, DType dtype, int64_t hidden, int64_t rows) {
    const Weights w(hidden);
    GuardedTensor x(dtype, rows, hidden);
    GuardedTensor out(dtype, rows, hidden);
    fill_random(x, 3);
    run(kind, out, x, w, stream);
    run(kind, x, x, w, stream);
    EXPECT_EQ(x.bytes(), out.bytes());
    x.expect_guards_untouched();
  });
}

TEST(Norm, AddingIsARoundedSumThenTheNorm) {
  Stream stream(kCpuDevice, 2);
  for_each_case([&](Kind kind, DType dtype, int64_t hidden, int64_t rows) {
    const Weights w(hidden);
    GuardedTensor x(dtype, rows, hidden);
    GuardedTensor residual(dtype, rows, hidden);
    GuardedTensor sum(dtype, rows, hidden);
    GuardedTensor expected(dtype, rows, hidden);
    fill_random(x, 3);
    fill_random(residual, 4, 10);
    const std::vector<double> a = values_of(x.view());
    const std::vector<double> b = values_of(residual.view());
    size_t i = 0;
    fill(sum, [&] { return i++, static_cast<float>(a[i - 1]) + static_cast<float>(b[i - 1]); });
    run(kind, expected, sum, w, stream);
    run_add(kind, x, residual, x, w, stream);  // out may be x
    EXPECT_EQ(residual.bytes(), sum.bytes());
    EXPECT_EQ(x.bytes(), expected.bytes());
    x.expect_guards_untouched();
    residual.expect_guards_untouched();
  });
}

TEST(Norm, BitsOfARowDependOnNothingElse) {
  constexpr int64_t kRows = 33;
  for (const Kind kind : kKinds) {
    for (const DType dtype : kFloatDTypes) {
      const int64_t hidden = 1029;
      const Weights w(hidden);
      GuardedTensor x(dtype, kRows, hidden);
      fill_random(x, 5);
      std::string bits;
      for (const int num_threads : kThreadCounts) {
        Stream stream(kCpuDevice, num_threads);
        GuardedTensor out(dtype, kRows, hidden);
        run(kind, out, x, w, stream);
        if (bits.empty()) bits = out.bytes();
        EXPECT_EQ(bits, out.bytes());
        for (int64_t i = 0; i < kRows; i += 8) {
          GuardedTensor alone(dtype, 1, hidden);
          run(kind, alone, x.view().slice(0, i, i + 1), w, stream);
          EXPECT_EQ(alone.bytes(), out.bytes_of_row(i));
        }
      }
    }
  }
}

TEST(Norm, VarianceOfAFarMeanIsNotCancelled) {
  Stream stream(kCpuDevice, 1);
  const Weights w(64);
  GuardedTensor x(DType::kF32, 1, 64);
  GuardedTensor out(DType::kF32, 1, 64);
  fill_random(x, 6, 1, 1000);
  run(Kind::kLayer, out, x, w, stream);
  expect_near(out, reference(Kind::kLayer, values_of(x.view()), w), 1e-3, 1e-3);
}

TEST(Norm, RefusesWeightsOfAnotherSizeOrDtype) {
  Stream stream(kCpuDevice, 1);
  GuardedTensor x(DType::kBF16, 2, 8);
  GuardedTensor short_weight(DType::kF32, 1, 7);
  Tensor half(DType::kF16, {8});
  EXPECT_THROW(rms_norm(x, x, random_floats(7, 1), kEps, stream), CheckError);
  EXPECT_THROW(rms_norm(x, x, half, kEps, stream), CheckError);
  EXPECT_THROW(layer_norm(x, x, random_floats(8, 1), random_floats(7, 1), kEps, stream), CheckError);
}

}  // namespace
}  // namespace cohort
