// gemm_gated() against a product and an activation.
#include "kernels/gemm/gemm_gated.h"

#include <string>

#include "kernels/gemm/kernels_cuda.h"
#include "tests/op/gemm_cuda_testing.h"

namespace cohort {
namespace {

struct GatedShape {
  int64_t m, n, k;  // n of the result
};

// The result differs from `expected` by what rounding gate, up and their product may move: sums in another order may be
// rounded the other way.
void expect_gated(const Matrix& out, const Matrix& expected, const Matrix& gate_up, const std::string& what) {
  const int64_t n = out.num_columns();
  const double step = 3 * static_cast<double>(epsilon(out.view().dtype()));
  for (int64_t r = 0; r < out.num_rows(); ++r) {
    for (int64_t i = 0; i < n; ++i) {
      const double gate = static_cast<double>(gate_up.at(r, i));
      const double up = static_cast<double>(gate_up.at(r, n + i));
      const double tolerance = step * (std::abs(gate) + 0.05) * (std::abs(up) + 0.05);
      ASSERT_NEAR(static_cast<double>(out.at(r, i)), static_cast<double>(expected.at(r, i)), tolerance)
          << what << " [" << r << ", " << i << "]";
    }
  }
}

TEST(GemmGated, IsAProductAndAnActivationOnTheCpu) {
  Stream stream(kCpuDevice, 2);
  const Case c(DType::kF32, 5, 48, 40);
  const PackedWeight weight = PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kF32, 1, stream);
  const Matrix gate_up(DType::kF32, 5, 48);
  const Matrix expected(DType::kF32, 5, 24);
  gemm(gate_up.view(), c.x.view(), weight, c.bias, stream);
  activate_gated(expected.view(), gate_up.view(), Activation::kGelu, stream);
  const Matrix scratch(DType::kF32, 5, 48);
  const Matrix out(DType::kF32, 5, 24);
  gemm_gated(out.view(), scratch.view(), c.x.view(), weight, c.bias, Activation::kGelu, stream);
  EXPECT_TRUE(all_equal(out, expected));
}

TEST(GemmGated, RefusesOtherShapes) {
  Stream stream(kCpuDevice, 1);
  const Case c(DType::kF32, 3, 8, 16);
  const PackedWeight weight = PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kF32, 1, stream);
  const Matrix gate_up(DType::kF32, 3, 8);
  const Matrix out(DType::kF32, 3, 5);
  EXPECT_THROW(gemm_gated(out.view(), gate_up.view(), c.x.view(), weight, {}, Activation::kSilu, stream), CheckError);
}

class GemmGatedCuda : public GemmCuda {};

// gemm_gated() as it chooses, and the kernel that is both, with strips of every kind, several of a block, and columns
// that end within a vector.
TEST_F(GemmGatedCuda, MatchesAProductAndAnActivation) {
  Stream stream(kCuda);
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const GatedShape& s :
         {GatedShape{1, 60, 264}, {16, 301, 72}, {33, 1003, 264}, {40, 1000, 136}, {64, 640, 1096}, {70, 264, 136}}) {
      const Case c(dtype, s.m, 2 * s.n, s.k);
      const DeviceCase device_case(c);
      const ConstTensorView x = device_case.x.view();
      const PackedWeight weight = pack(c.weight.view(), dtype, 1, GemmMode::kFast, stream);
      const bool can_be_one = can_be_wide(cuda::problem_of(x, weight, stream));
      for (const bool has_bias : {false, true}) {
        const ConstTensorView bias = has_bias ? ConstTensorView(device_case.bias) : ConstTensorView();
        const DeviceMatrix gate_up(dtype, s.m, 2 * s.n);
        gemm(gate_up.view(), x, weight, bias, stream);
        for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
          const DeviceMatrix expected(dtype, s.m, s.n);
          activate_gated(expected.view(), gate_up.view(), activation, stream);
          const auto expect_right = [&](const DeviceMatrix& out, const std::string& what) {
            stream.synchronize();
            expect_gated(out.fetch(), expected.fetch(), gate_up.fetch(),
                         what + " " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) +
                             " " + std::string(dtype_name(dtype)));
          };
          for (const Placement& placement : {Placement{}, Placement{1, 3}}) {
            const DeviceMatrix chosen(dtype, s.m, s.n, placement);
            const DeviceMatrix scratch(dtype, s.m, 2 * s.n);
            gemm_gated(chosen.view(), scratch.view(), x, weight, bias, activation, stream);
            expect_right(chosen, "chosen");
            for (const int columns : {8, 39, 64, 104, 128}) {
              for (const int num_blocks : {132, 3}) {
                if (!can_be_one) continue;
                const DeviceMatrix out(dtype, s.m, s.n, placement);
                cuda::run_wide_gemm_gated(
                    out.view(), x, weight, bias, activation,
                    gemm_internal::plan_wide_strips(s.m, s.n, num_blocks, 2, columns, 1, 32 << 10), stream);
                expect_right(out, "strips of " + std::to_string(columns));
                if (HasFatalFailure()) return;
              }
            }
          }
        }
      }
    }
  }
}

// Of a size that is one kernel where there is one.
TEST_F(GemmGatedCuda, MatchesAtTheSizeOfAModel) {
  Stream stream(kCuda);
  const int64_t m = 64;
  const int64_t n = 13824;
  const int64_t k = 640;
  const Case c(DType::kBF16, m, 2 * n, k);
  const DeviceCase device_case(c);
  const PackedWeight weight = pack(c.weight.view(), DType::kBF16, 1, GemmMode::kFast, stream);
  const DeviceMatrix gate_up(DType::kBF16, m, 2 * n);
  const DeviceMatrix expected(DType::kBF16, m, n);
  gemm(gate_up.view(), device_case.x.view(), weight, {}, stream);
  activate_gated(expected.view(), gate_up.view(), Activation::kSilu, stream);
  const DeviceMatrix scratch(DType::kBF16, m, 2 * n);
  const DeviceMatrix out(DType::kBF16, m, n);
  gemm_gated(out.view(), scratch.view(), device_case.x.view(), weight, {}, Activation::kSilu, stream);
  stream.synchronize();
  expect_gated(out.fetch(), expected.fetch(), gate_up.fetch(), "13824");
}

}  // namespace
}  // namespace cohort
