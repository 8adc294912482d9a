// Element types and their conversions.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/core/check.h"

namespace cohort {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  // named so that files and plans can speak of it; no op takes it yet
  kF8E5M2,  // likewise
  kI8,      // likewise
  kI4,      // likewise, two elements a byte
  kI32,
  kI64,
  kU8,
};

// Bits of one element.
int dtype_bits(DType dtype);

// Bytes of `num_elements` elements, rounded up to a whole byte.
inline int64_t dtype_bytes(DType dtype, int64_t num_elements) { return (num_elements * dtype_bits(dtype) + 7) / 8; }

// "float32", "float16", "bfloat16", "float8_e4m3", ...: the names of `torch_dtype` in config.json.
std::string_view dtype_name(DType dtype);

// From a name as dtype_name gives it; nothing if it is not known.
std::optional<DType> dtype_from_name(std::string_view name);

// Brain float: the upper half of a float32.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  // Rounds to nearest, ties to even; NaN stays NaN.
  explicit bf16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    const uint32_t rounded = u + 0x7fffu + ((u >> 16) & 1u);
    bits = static_cast<uint16_t>(is_nan ? (u >> 16) | 0x40u : rounded >> 16);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

// IEEE 754 binary16. Converted by integer arithmetic (after Fabian Giesen, "Half-float conversion"), because
// compilers disagree on where _Float16 exists; hot loops use F16C, which gives the same bits.
struct f16 {
  uint16_t bits = 0;

  f16() = default;
  // Rounds to nearest, ties to even; overflows to infinity; NaN stays NaN.
  explicit f16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t sign = (u >> 16) & 0x8000u;
    uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude >= 0x47800000u) {  // 65536 and up, infinity, NaN
      bits = static_cast<uint16_t>(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u));
    } else if (magnitude < 0x38800000u) {  // subnormal: let the adder shift and round
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      bits = static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
    } else {
      const uint32_t is_odd = (magnitude >> 13) & 1u;
      magnitude += 0xc8000fffu + is_odd;  // rebias the exponent by -112, round half to even
      bits = static_cast<uint16_t>(sign | (magnitude >> 13));
    }
  }
  explicit operator float() const {
    const uint32_t sign = (bits & 0x8000u) << 16;
    const uint32_t magnitude = (bits & 0x7fffu) << 13;
    const uint32_t exponent = magnitude & 0x0f800000u;
    if (exponent == 0x0f800000u) return std::bit_cast<float>(sign | (magnitude + 0x70000000u));
    if (exponent == 0) {  // subnormal: let the subtractor normalise
      const float value = std::bit_cast<float>(magnitude + 0x38800000u) - 0x1p-14f;
      return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
    }
    return std::bit_cast<float>(sign | (magnitude + 0x38000000u));
  }
};

template <typename T>
inline constexpr DType kDTypeOf = [] {
  static_assert(sizeof(T) == 0, "no DType for this type");
  return DType::kF32;
}();
template <>
inline constexpr DType kDTypeOf<float> = DType::kF32;
template <>
inline constexpr DType kDTypeOf<f16> = DType::kF16;
template <>
inline constexpr DType kDTypeOf<bf16> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<int8_t> = DType::kI8;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::kI64;
template <>
inline constexpr DType kDTypeOf<uint8_t> = DType::kU8;

// Calls f.template operator()<T>() with T = float, f16 or bf16 for `dtype`:
//   dispatch_float(x.dtype(), [&]<typename T>() { kernel<T>(...); });
template <typename F>
decltype(auto) dispatch_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kF16:
      return f.template operator()<f16>();
    case DType::kBF16:
      return f.template operator()<bf16>();
    default:
      break;
  }
  check_failed(__FILE__, __LINE__, "dtype is float32, float16 or bfloat16", std::string(dtype_name(dtype)));
}

}  // namespace cohort
