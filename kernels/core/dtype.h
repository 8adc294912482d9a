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
inline int64_t dtype_bytes(DType dtype, int64_t num_elements) {
  return (num_elements * dtype_bits(dtype) + 7) / 8;
}

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

// IEEE 754 binary16.
struct f16 {
  uint16_t bits = 0;

  f16() = default;
  // Rounds to nearest, ties to even; overflows to infinity.
  explicit f16(float value) : bits(std::bit_cast<uint16_t>(static_cast<_Float16>(value))) {}
  explicit operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};

template <typename T>
inline constexpr DType kDTypeOf = [] {
  static_assert(sizeof(T) == 0, "no DType for this type");
  return DType::kF32;
}();
template <> inline constexpr DType kDTypeOf<float> = DType::kF32;
template <> inline constexpr DType kDTypeOf<f16> = DType::kF16;
template <> inline constexpr DType kDTypeOf<bf16> = DType::kBF16;
template <> inline constexpr DType kDTypeOf<int8_t> = DType::kI8;
template <> inline constexpr DType kDTypeOf<int32_t> = DType::kI32;
template <> inline constexpr DType kDTypeOf<int64_t> = DType::kI64;
template <> inline constexpr DType kDTypeOf<uint8_t> = DType::kU8;

// Calls f.template operator()<T>() with T = float, f16 or bf16 for `dtype`:
//   dispatch_float(x.dtype(), [&]<typename T>() { kernel<T>(...); });
template <typename F>
decltype(auto) dispatch_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32: return f.template operator()<float>();
    case DType::kF16: return f.template operator()<f16>();
    case DType::kBF16: return f.template operator()<bf16>();
    default: break;
  }
  check_failed(__FILE__, __LINE__, "dtype is float32, float16 or bfloat16", std::string(dtype_name(dtype)));
}

}  // namespace cohort
