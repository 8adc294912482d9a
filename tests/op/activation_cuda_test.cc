#include <limits>

#include "kernels/activation/activation.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr Activation kActivations[] = {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSilu,
                                       Activation::kTanh};

class ActivationCuda : public CudaTest {};

// Normal values among which are zeros of both signs, far tails, and where the functions bend.
std::vector<char> inputs(DType dtype, int64_t num_elements, uint32_t seed) {
  constexpr float kSpecial[] = {0.0f, -0.0f, 1e4f, -1e4f, 15.0f, -15.0f, -14.9f, -5.5f, 1e-6f, -1e-6f, 88.0f, -88.0f};
  std::vector<char> bytes = random_bytes(dtype, num_elements, seed, 3);
  dispatch_float(dtype, [&]<typename T>() {
    for (int64_t i = 0; i < num_elements; i += 5) {
      const T value(kSpecial[static_cast<size_t>(i / 5) % std::size(kSpecial)]);
      std::memcpy(bytes.data() + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
    }
  });
  return bytes;
}

struct Case {
  Activation activation;
  bool is_gated;
  DType dtype;
  Layout out;

  Layout in() const { return {out.num_rows, is_gated ? 2 * out.n : out.n, out.offset, out.gap}; }
};

// All bytes of what was written.
std::vector<char> run(const Case& c, const std::vector<char>& in, Stream& stream) {
  const Operand out(poison(c.dtype, c.out), c.dtype, c.out, stream.device());
  const Operand x(in, c.dtype, c.in(), stream.device());
  (c.is_gated ? activate_gated : activate)(out.view(), x.view(), c.activation, stream);
  stream.synchronize();
  EXPECT_TRUE(x.bytes() == in);
  return out.bytes();
}

template <typename F>
void for_each_case(const std::vector<Layout>& layouts, F&& f) {
  for (const Activation activation : kActivations) {
    for (const bool is_gated : {false, true}) {
      for (const DType dtype : kFloatDTypes) {
        for (const Layout& layout : layouts) {
          SCOPED_TRACE(name_of(layout, dtype) + " activation " + std::to_string(static_cast<int>(activation)));
          f(Case{activation, is_gated, dtype, layout});
        }
      }
    }
  }
}

TEST_F(ActivationCuda, AgreesWithTheCpu) {
  for_each_case(kRowLayouts, [&](const Case& c) {
    const std::vector<char> in = inputs(c.dtype, c.in().num_elements(), 1);
    expect_near_bytes(run(c, in, cuda()), run(c, in, cpu()), c.dtype, c.out, 1e-6, 1e-8);
  });
}

TEST_F(ActivationCuda, AgreesWithTheCpuOnLargeTensors) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Layout& layout : kLargeRowLayouts) {
      for (const bool is_gated : {false, true}) {
        const Case c{Activation::kSilu, is_gated, dtype, layout};
        SCOPED_TRACE(name_of(layout, dtype));
        const std::vector<char> in = inputs(dtype, c.in().num_elements(), 1);
        expect_near_bytes(run(c, in, cuda()), run(c, in, cpu()), dtype, layout, 1e-6, 1e-8);
      }
    }
  }
}

// Every bfloat16 and float16 that is a number: a step of either is far more than the functions differ by.
TEST_F(ActivationCuda, AgreesWithTheCpuOnEveryNumberOf16Bits) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const Activation activation : kActivations) {
      SCOPED_TRACE(std::to_string(static_cast<int>(activation)));
      const Case c{activation, false, dtype, {1, 1 << 16}};
      std::vector<char> in(static_cast<size_t>(2 * c.out.num_elements()));
      const uint32_t infinity = dtype == DType::kF16 ? 0x7c00 : 0x7f80;
      for (int64_t i = 0; i < c.out.num_elements(); ++i) {
        auto bits = static_cast<uint16_t>(i);
        if ((bits & 0x7fffu) >= infinity) bits = 0;
        std::memcpy(in.data() + 2 * i, &bits, 2);
      }
      expect_near_bytes(run(c, in, cuda()), run(c, in, cpu()), dtype, c.out, 1e-6, 1e-8);
    }
  }
}

TEST_F(ActivationCuda, BitsOfARowDependOnNothingElse) {
  const Layout together{40, 304, 0, 8};
  for_each_case({together}, [&](const Case& c) {
    const std::vector<char> in = inputs(c.dtype, c.in().num_elements(), 2);
    const std::vector<char> all = run(c, in, cuda());
    for (const int64_t offset : {0, 1}) {  // where vectors may be, and where not
      Case alone = c;
      alone.out = {1, together.n, offset};
      std::vector<char> own = poison(c.dtype, alone.in());
      const std::string row = row_of(in, c.dtype, c.in(), 11);
      std::copy(row.begin(), row.end(), own.begin() + dtype_bytes(c.dtype, offset));
      EXPECT_TRUE(row_of(run(alone, own, cuda()), c.dtype, alone.out, 0) == row_of(all, c.dtype, together, 11));
    }
  });
}

TEST_F(ActivationCuda, InPlaceGivesTheSameBits) {
  for_each_case({{3, 77, 0, 3}, {5, 64, 0, 8}, {4, 257}}, [&](const Case& c) {
    if (c.is_gated) return;
    const std::vector<char> in = inputs(c.dtype, c.in().num_elements(), 1);
    const std::vector<char> apart = run(c, in, cuda());
    const Operand x(in, c.dtype, c.out, kCuda);
    activate(x.view(), x.view(), c.activation, cuda());
    cuda().synchronize();
    for (int64_t i = 0; i < c.out.num_rows; ++i) {
      EXPECT_TRUE(row_of(x.bytes(), c.dtype, c.out, i) == row_of(apart, c.dtype, c.out, i)) << "row " << i;
    }
  });
}

TEST_F(ActivationCuda, NanStays) {
  const Layout layout{1, 9};
  std::vector<char> in = poison(DType::kF32, layout);  // every element of the row is NaN
  for (const Activation activation : kActivations) {
    const std::vector<char> out = run({activation, false, DType::kF32, layout}, in, cuda());
    for (int64_t i = 0; i < layout.n; ++i) EXPECT_TRUE(std::isnan(element_of<float>(out, i)));
  }
}

}  // namespace
}  // namespace cohort
