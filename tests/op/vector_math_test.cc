#include "kernels/core/vector_math.h"

#include <limits>

#include "tests/op/op_test.h"

namespace cohort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }

TEST(VectorMath, ExpIsWithinOneUlp) {
  double worst = 0;
  for (uint32_t u = 0; u < bits_of(104.0f); u += 1009) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float x = std::bit_cast<float>(u | sign);
      if (x > 88.7f) continue;
      const double expected = std::exp(static_cast<double>(x));
      int exponent = 0;
      std::frexp(expected, &exponent);
      const double ulp = std::ldexp(1.0, std::max(exponent - 24, -149));
      worst = std::max(worst, std::abs(exp_float(x) - expected) / ulp);
    }
  }
  EXPECT_LT(worst, 1.0);
}

TEST(VectorMath, ExpAtTheEnds) {
  EXPECT_EQ(exp_float(0), 1);
  EXPECT_EQ(exp_float(-0.0f), 1);
  EXPECT_EQ(exp_float(kInfinity), kInfinity);
  EXPECT_EQ(exp_float(89), kInfinity);
  EXPECT_EQ(exp_float(-kInfinity), 0);
  EXPECT_EQ(exp_float(-1e30f), 0);
  EXPECT_TRUE(std::isnan(exp_float(std::nanf(""))));
}

template <typename T>
void expect_loads_and_stores_convert() {
  for (uint32_t u = 0; u < 65536; u += kLanes) {
    T x[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) x[i].bits = static_cast<uint16_t>(u + i);
    const Float8 loaded = load8(x);
    T stored[kLanes];
    store8(stored, loaded);
    for (int i = 0; i < kLanes; ++i) {
      const float expected = static_cast<float>(x[i]);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(loaded[i]) && std::isnan(static_cast<float>(stored[i])));
      } else {
        ASSERT_EQ(bits_of(loaded[i]), bits_of(expected)) << u + i;
        ASSERT_EQ(stored[i].bits, x[i].bits);
      }
    }
  }
  std::mt19937 rng(1);
  for (int n = 0; n < 200000; ++n) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(rng()));
    if (std::isnan(x)) continue;
    T stored[kLanes];
    store8(stored, splat8(x));
    ASSERT_EQ(stored[n % kLanes].bits, T(x).bits) << x;
  }
}

TEST(VectorMath, LoadsAndStoresConvertLikeTheScalarTypes) {
  expect_loads_and_stores_convert<f16>();
  expect_loads_and_stores_convert<bf16>();
}

TEST(VectorMath, PartialLoadsAndStoresStayInside) {
  for (int64_t n = 0; n <= 17; ++n) {
    std::vector<float> x(static_cast<size_t>(n));
    std::vector<float> y(static_cast<size_t>(n) + 1, -1);
    for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(i + 1);
    for_each_vector(n, [&](int64_t i, auto extent) {
      const Float8 v = load8(x.data() + i, extent);
      for (int64_t j = 0; j < kLanes; ++j) {
        EXPECT_EQ(v[j], i + j < n ? static_cast<float>(i + j + 1) : 0);
      }
      store8(y.data() + i, v, extent);
    });
    EXPECT_EQ(y.back(), -1);
    y.pop_back();
    EXPECT_EQ(x, y);
  }
}

TEST(VectorMath, SumMaxAndAny) {
  const Float8 x = {1, 2, 4, 8, -16, 32, 64, -128};
  EXPECT_EQ(sum_of8(x), -33);
  EXPECT_EQ(max_of8(x), 64);
  EXPECT_TRUE(any8(x > 63.0f));
  EXPECT_FALSE(any8(x > 64.0f));
}

}  // namespace
}  // namespace cohort
