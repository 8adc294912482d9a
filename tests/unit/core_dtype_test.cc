#include "kernels/core/dtype.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/core/convert.h"

namespace cohort {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A format of `mantissa_bits` and `exponent_bits`, decoded and rounded by arithmetic on doubles.
struct Format {
  int mantissa_bits;
  int exponent_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }

  double decode(uint32_t bits) const {
    const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
    const auto exponent = static_cast<int>((bits >> mantissa_bits) & ((1u << exponent_bits) - 1));
    const double sign = (bits >> (mantissa_bits + exponent_bits)) != 0 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) {
      return mantissa != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
    }
    const double fraction = std::ldexp(mantissa, -mantissa_bits);
    return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias()) : std::ldexp(1 + fraction, exponent - bias()));
  }

  // To nearest, ties to even, with subnormals, to infinity.
  double round(float value) const {
    if (value == 0 || !std::isfinite(value)) return value;
    int exponent = 0;
    std::frexp(value, &exponent);
    exponent = std::max(exponent - 1, 1 - bias());
    const double step = std::ldexp(1.0, exponent - mantissa_bits);
    const double rounded = std::nearbyint(value / step) * step;  // in the mode to nearest even
    const double largest = std::ldexp(2 - std::ldexp(1.0, -mantissa_bits), bias());
    return std::abs(rounded) > largest ? std::copysign(kInfinity, value) : rounded;
  }
};

constexpr Format kHalf{10, 5};
constexpr Format kBrain{7, 8};

template <typename T>
T from_bits(uint32_t bits) {
  T x;
  x.bits = static_cast<uint16_t>(bits);
  return x;
}

bool is_same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

template <typename T>
void expect_every_pattern_decodes_and_returns(const Format& format) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto x = from_bits<T>(bits);
    const auto value = static_cast<float>(x);
    ASSERT_TRUE(is_same(value, format.decode(bits))) << bits;
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(static_cast<float>(T(value)))) << bits;
    } else {
      ASSERT_EQ(T(value).bits, bits);
    }
  }
}

template <typename T>
void expect_rounds(const Format& format, float value) {
  ASSERT_TRUE(is_same(static_cast<float>(T(value)), format.round(value)))
      << std::hexfloat << value << " becomes " << static_cast<float>(T(value)) << ", not " << format.round(value);
}

// Around every representable value and every tie between two, and where it matters at random.
template <typename T>
void expect_rounds_everywhere(const Format& format) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto value = static_cast<float>(from_bits<T>(bits));
    if (!std::isfinite(value)) continue;
    const float next = static_cast<float>(from_bits<T>(bits + 1));
    const auto tie = static_cast<float>((static_cast<double>(value) + next) / 2);
    for (const float x : {value, tie}) {
      if (!std::isfinite(x)) continue;
      expect_rounds<T>(format, x);
      expect_rounds<T>(format, std::nextafter(x, kInfinity));
      expect_rounds<T>(format, std::nextafter(x, -kInfinity));
    }
  }
  std::mt19937 rng(1);
  for (int i = 0; i < 1000000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(rng()));
    if (!std::isnan(x)) expect_rounds<T>(format, x);
  }
}

TEST(DType, EveryPatternOfFloat16) { expect_every_pattern_decodes_and_returns<f16>(kHalf); }
TEST(DType, EveryPatternOfBfloat16) { expect_every_pattern_decodes_and_returns<bf16>(kBrain); }
TEST(DType, Float16RoundsToNearestEven) { expect_rounds_everywhere<f16>(kHalf); }
TEST(DType, Bfloat16RoundsToNearestEven) { expect_rounds_everywhere<bf16>(kBrain); }

TEST(DType, OverflowAndNan) {
  EXPECT_EQ(static_cast<float>(f16(65519.0f)), 65504.0f);
  EXPECT_EQ(static_cast<float>(f16(65520.0f)), kInfinity);
  EXPECT_EQ(static_cast<float>(f16(-1e30f)), -kInfinity);
  EXPECT_EQ(static_cast<float>(bf16(std::numeric_limits<float>::max())), kInfinity);
  for (const uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7fc00000u}) {
    EXPECT_TRUE(std::isnan(static_cast<float>(f16(std::bit_cast<float>(bits)))));
    EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(bits)))));
  }
}

constexpr DType kAll[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2,
                          DType::kI8,  DType::kI4,  DType::kI32,  DType::kI64,    DType::kU8};

TEST(DType, NamesReturn) {
  for (const DType dtype : kAll) EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  EXPECT_EQ(dtype_from_name("float64"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

TEST(DType, BytesAreRoundedUp) {
  EXPECT_EQ(dtype_bytes(DType::kI4, 3), 2);
  EXPECT_EQ(dtype_bytes(DType::kI4, 0), 0);
  EXPECT_EQ(dtype_bytes(DType::kI64, 3), 24);
  EXPECT_EQ(dtype_bytes(DType::kBF16, int64_t{1} << 40), int64_t{1} << 41);
}

TEST(DType, DispatchCallsWithTheType) {
  const auto dtype_of = [](DType dtype) { return dispatch_float(dtype, []<typename T>() { return kDTypeOf<T>; }); };
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    EXPECT_EQ(dtype_of(dtype), dtype);
  }
  EXPECT_THROW(dtype_of(DType::kI32), CheckError);
  EXPECT_THROW(dtype_of(DType::kF8E4M3), CheckError);
}

TEST(Convert, StridedRowsBetweenDTypes) {
  Tensor wide(DType::kF32, {3, 8});
  for (int64_t i = 0; i < 24; ++i) wide->data<float>()[i] = static_cast<float>(i) / 3;
  Tensor half(DType::kF16, {3, 5});
  Tensor back(DType::kF32, {3, 5});
  Tensor turned(DType::kBF16, {5, 3});
  Stream stream(kCpuDevice, 1);
  convert(half, wide.view().slice(1, 2, 7), stream);
  convert(back, half, stream);
  transpose(turned, wide.view().slice(1, 2, 7), stream);
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 5; ++j) {
      EXPECT_EQ(back->row<float>(i)[j], static_cast<float>(f16(wide->row<float>(i)[j + 2])));
      EXPECT_EQ(turned->row<bf16>(j)[i].bits, bf16(wide->row<float>(i)[j + 2]).bits);
    }
  }
  EXPECT_THROW(convert(half, wide, stream), CheckError);
  EXPECT_THROW(transpose(half, half, stream), CheckError);
}

}  // namespace
}  // namespace cohort
