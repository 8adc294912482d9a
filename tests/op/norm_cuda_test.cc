// The GPU sums in another order than the CPU, and always in the same.
#include "kernels/norm/norm.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr float kEps = 1e-5f;

enum class Kind { kRms, kLayer, kLayerNoBias };
constexpr Kind kKinds[] = {Kind::kRms, Kind::kLayer, Kind::kLayerNoBias};

class NormCuda : public CudaTest {};

struct Problem {
  Kind kind;
  DType dtype;
  bool has_residual;
  int64_t weight_offset = 0;  // elements of the weight's allocation before it
  double mean = 3;
};

struct Written {
  std::vector<char> out;
  std::vector<char> residual;  // all bytes
};

// `residual` is null where there is none.
void call(Kind kind, const TensorView& out, const TensorView* residual, const ConstTensorView& x,
          const ConstTensorView& weight, const ConstTensorView& bias, Stream& stream) {
  if (kind == Kind::kRms && residual == nullptr) return rms_norm(out, x, weight, kEps, stream);
  if (kind == Kind::kRms) return add_rms_norm(out, *residual, x, weight, kEps, stream);
  const ConstTensorView used_bias = kind == Kind::kLayer ? bias : ConstTensorView();
  if (residual == nullptr) return layer_norm(out, x, weight, used_bias, kEps, stream);
  add_layer_norm(out, *residual, x, weight, used_bias, kEps, stream);
}

// Writes with `out_layout` the norms of the rows of x, which are laid out like the residual by `layout`.
Written run(const Problem& p, const Layout& out_layout, const Layout& layout, const std::vector<char>& x_bytes,
            const std::vector<char>& residual_bytes, Stream& stream) {
  const Device device = stream.device();
  const Layout weights{1, layout.n, p.weight_offset};
  const Operand out(poison(p.dtype, out_layout), p.dtype, out_layout, device);
  const Operand x(x_bytes, p.dtype, layout, device);
  const Operand residual(residual_bytes, p.dtype, layout, device);
  const Operand weight(random_bytes(DType::kF32, weights.num_elements(), 1, 0.5, 1), DType::kF32, weights, device);
  const Operand bias(random_bytes(DType::kF32, weights.num_elements(), 2, 0.5), DType::kF32, weights, device);
  const TensorView residual_view = residual.view();
  call(p.kind, out.view(), p.has_residual ? &residual_view : nullptr, x.view(), weight.view().reshape({layout.n}),
       bias.view().reshape({layout.n}), stream);
  stream.synchronize();
  EXPECT_TRUE(x.bytes() == x_bytes);
  return {out.bytes(), residual.bytes()};
}

Written run(const Problem& p, const Layout& layout, Stream& stream) {
  return run(p, layout, layout, random_bytes(p.dtype, layout.num_elements(), 3, 1, p.mean),
             random_bytes(p.dtype, layout.num_elements(), 4, 2), stream);
}

void expect_like_cpu(const Written& cuda, const Written& cpu, const Problem& p, const Layout& layout,
                     double absolute = 4e-6) {
  EXPECT_TRUE(cuda.residual == cpu.residual);  // one sum, rounded: equal bits
  expect_near_bytes(cuda.out, cpu.out, p.dtype, layout, 2e-6, absolute);
}

template <typename F>
void for_each_problem(F&& f) {
  for (const Kind kind : kKinds) {
    for (const DType dtype : kFloatDTypes) {
      for (const bool has_residual : {false, true}) f(Problem{kind, dtype, has_residual});
    }
  }
}

// A thread's piece is 8 elements, a warp's 256; 2048, 8192 and 16384 are where threads get more pieces.
constexpr int64_t kHiddens[] = {1,    3,    7,    8,    9,    31,   64,   255,   256,   257,   264,   511,   512,
                                1000, 2048, 2056, 4096, 5120, 8192, 8200, 12288, 16384, 16392, 20001, 32760, 32768};

TEST_F(NormCuda, AgreesWithTheCpu) {
  for_each_problem([&](const Problem& p) {
    for (const int64_t hidden : kHiddens) {
      for (const Layout& layout : {Layout{1, hidden}, Layout{3, hidden, 0, 8}, Layout{9, hidden, 8, 8 - hidden % 8},
                                   Layout{2, hidden, 1, 0}, Layout{3, hidden, 3, 5}}) {
        SCOPED_TRACE(name_of(layout, p.dtype));
        expect_like_cpu(run(p, layout, cuda()), run(p, layout, cpu()), p, layout);
      }
    }
  });
}

TEST_F(NormCuda, AgreesWithTheCpuOnManyRows) {
  for_each_problem([&](const Problem& p) {
    for (const Layout& layout : {Layout{5003, 64}, Layout{100003, 5, 0, 3}, Layout{2001, 1024}, Layout{0, 64}}) {
      SCOPED_TRACE(name_of(layout, p.dtype));
      // Of so many rows of five some are nearly constant, and what is left of them without their mean has few digits.
      const double absolute = layout.n == 5 ? 1e-4 : 4e-6;
      expect_like_cpu(run(p, layout, cuda()), run(p, layout, cpu()), p, layout, absolute);
    }
  });
}

TEST_F(NormCuda, WeightsNeedNotBeAligned) {
  for_each_problem([&](Problem p) {
    p.weight_offset = 1;
    const Layout layout{3, 520};
    expect_like_cpu(run(p, layout, cuda()), run(p, layout, cpu()), p, layout);
  });
}

TEST_F(NormCuda, BitsOfARowDependOnNothingElse) {
  constexpr int64_t kRows = 11;
  for_each_problem([&](const Problem& p) {
    for (const int64_t hidden : {5, 100, 256, 1029, 4096, 9000, 20000, 32768}) {
      SCOPED_TRACE(name_of({kRows, hidden}, p.dtype));
      const Layout together{kRows, hidden, 0, 16 - hidden % 8};
      const std::vector<char> x = random_bytes(p.dtype, together.num_elements(), 3);
      const std::vector<char> residual = random_bytes(p.dtype, together.num_elements(), 4);
      const Written all = run(p, together, together, x, residual, cuda());
      EXPECT_TRUE(run(p, together, together, x, residual, cuda()).out == all.out);
      for (int64_t i = 0; i < kRows; i += 5) {
        for (const int64_t offset : {0, 1, 8}) {  // where vectors may be, and where not
          const Layout alone{1, hidden, offset};
          std::vector<char> own_x = poison(p.dtype, alone);
          std::vector<char> own_residual = own_x;
          const std::string x_row = row_of(x, p.dtype, together, i);
          const std::string residual_row = row_of(residual, p.dtype, together, i);
          std::copy(x_row.begin(), x_row.end(), own_x.begin() + dtype_bytes(p.dtype, offset));
          std::copy(residual_row.begin(), residual_row.end(), own_residual.begin() + dtype_bytes(p.dtype, offset));
          const Written own = run(p, alone, alone, own_x, own_residual, cuda());
          EXPECT_TRUE(row_of(own.out, p.dtype, alone, 0) == row_of(all.out, p.dtype, together, i)) << "row " << i;
        }
      }
    }
  });
}

TEST_F(NormCuda, InPlaceGivesTheSameBits) {
  for_each_problem([&](const Problem& p) {
    for (const int64_t hidden : {7, 64, 1029, 9000}) {
      const Layout layout{3, hidden, 0, 3};
      const Written apart = run(p, layout, cuda());
      const Operand x(random_bytes(p.dtype, layout.num_elements(), 3, 1, p.mean), p.dtype, layout, kCuda);
      const Operand residual(random_bytes(p.dtype, layout.num_elements(), 4, 2), p.dtype, layout, kCuda);
      const Tensor weight = on_device(random_floats(hidden, 1, 0.5, 1), kCuda);
      const Tensor bias = on_device(random_floats(hidden, 2, 0.5), kCuda);
      const TensorView residual_view = residual.view();
      call(p.kind, x.view(), p.has_residual ? &residual_view : nullptr, x.view(), weight, bias, cuda());
      cuda().synchronize();
      EXPECT_TRUE(residual.bytes() == apart.residual);
      for (int64_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(row_of(x.bytes(), p.dtype, layout, i) == row_of(apart.out, p.dtype, layout, i)) << "row " << i;
      }
    }
  });
}

TEST_F(NormCuda, VarianceOfAFarMeanIsNotCancelled) {
  const Layout layout{3, 4096};
  const Problem p{.kind = Kind::kLayer, .dtype = DType::kF32, .has_residual = false, .mean = 1000};
  expect_near_bytes(run(p, layout, cuda()).out, run(p, layout, cpu()).out, p.dtype, layout, 1e-3, 1e-3);
}

TEST_F(NormCuda, RefusesRowsThatNoBlockHolds) {
  const Tensor x(DType::kBF16, {1, 32769}, kCuda);
  const Tensor weight(DType::kF32, {32769}, kCuda);
  EXPECT_THROW(rms_norm(x, x, weight, kEps, cuda()), CheckError);
  EXPECT_THROW(layer_norm(x, x, weight, weight, kEps, cuda()), CheckError);
}

}  // namespace
}  // namespace cohort
