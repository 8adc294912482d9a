// Eight floats at a time, which the row ops and attention are written in: loads and stores of every
// dtype, a fused multiply-add, sums in a fixed order, exp. A lane's result never depends on the
// other lanes, and the width is the same on every CPU, so that bits do not depend on the machine.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/core/dtype.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#endif

namespace cohort {

inline constexpr int64_t kLanes = 8;

using Float8 = float __attribute__((vector_size(32)));
using Int8 = int32_t __attribute__((vector_size(32)));

inline Float8 splat8(float x) { return Float8{x, x, x, x, x, x, x, x}; }

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
inline Float8 fma8(Float8 a, Float8 b, Float8 c) { return _mm256_fmadd_ps(a, b, c); }
// The second operand where either is NaN, like the instruction.
inline Float8 min8(Float8 a, Float8 b) { return _mm256_min_ps(a, b); }
inline Float8 max8(Float8 a, Float8 b) { return _mm256_max_ps(a, b); }
inline Float8 load8(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void store8(f16* p, Float8 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
inline Float8 load8(const bf16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
// Rounds as bf16(float) does.
inline void store8(bf16* p, Float8 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i is_odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), is_odd);
  const __m256i quieted = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256 bits =
      _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quieted), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(bits), 16);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
}
#else
inline Float8 fma8(Float8 a, Float8 b, Float8 c) {
  for (int i = 0; i < kLanes; ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
}
inline Float8 min8(Float8 a, Float8 b) {
  for (int i = 0; i < kLanes; ++i) b[i] = a[i] < b[i] ? a[i] : b[i];
  return b;
}
inline Float8 max8(Float8 a, Float8 b) {
  for (int i = 0; i < kLanes; ++i) b[i] = a[i] > b[i] ? a[i] : b[i];
  return b;
}
inline Float8 load8(const f16* p) {
  Float8 x;
  for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(p[i]);
  return x;
}
inline void store8(f16* p, Float8 x) {
  for (int i = 0; i < kLanes; ++i) p[i] = f16(x[i]);
}
inline Float8 load8(const bf16* p) {
  Float8 x;
  for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(p[i]);
  return x;
}
inline void store8(bf16* p, Float8 x) {
  for (int i = 0; i < kLanes; ++i) p[i] = bf16(x[i]);
}
#endif

inline Float8 load8(const float* p) {
  Float8 x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}

inline void store8(float* p, Float8 x) { std::memcpy(p, &x, sizeof(x)); }

// How much of a vector a row has: all eight elements, or the `count` that are left at its end.
struct Whole {};
struct Part {
  int64_t count;
};

template <typename T>
Float8 load8(const T* p, Whole) {
  return load8(p);
}

// Zeros behind the end.
template <typename T>
Float8 load8(const T* p, Part part) {
  T padded[kLanes] = {};
  for (int64_t i = 0; i < part.count; ++i) padded[i] = p[i];
  return load8(padded);
}

template <typename T>
void store8(T* p, Float8 x, Whole) {
  store8(p, x);
}

template <typename T>
void store8(T* p, Float8 x, Part part) {
  T padded[kLanes];
  store8(padded, x);
  for (int64_t i = 0; i < part.count; ++i) p[i] = padded[i];
}

// Calls f(i, extent) for the vectors of a row of n elements: for i = 0, 8, ... f(i, Whole()), and
// f(i, Part{n - i}) for what is left.
template <typename F>
void for_each_vector(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Whole());
  if (i < n) f(i, Part{n - i});
}

// Sum and largest of the lanes, by halves.
inline float sum_of8(Float8 x) {
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
  return x[0] + x[1];
}

inline float max_of8(Float8 x) {
  x = max8(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
  x = max8(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
  return x[0] > x[1] ? x[0] : x[1];
}

// Whether a comparison holds in any lane.
inline bool any8(Int8 mask) {
  const auto m = std::bit_cast<std::array<int64_t, 4>>(mask);
  return ((m[0] | m[1]) | (m[2] | m[3])) != 0;
}

// e^x within 1 ulp or so, subnormal results included; 0 and infinity beyond the range; NaN stays
// NaN. x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor series to r^7 (what is left out is
// below 6e-9).
inline Float8 exp8(Float8 x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLn2High = 0x1.62e4p-1f;  // few bits, so that n * kLn2High is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  constexpr float kRound = 0x1.8p23f;  // adding it rounds to an integer, which is in the low bits
  const Float8 clamped = max8(splat8(-104.0f), min8(splat8(89.0f), x));
  const Float8 shifted = fma8(clamped, splat8(kLog2E), splat8(kRound));
  const Float8 n = shifted - kRound;
  Float8 r = fma8(n, splat8(-kLn2High), clamped);
  r = fma8(n, splat8(-kLn2Low), r);
  Float8 e = splat8(1.0f / 5040);
  e = fma8(e, r, splat8(1.0f / 720));
  e = fma8(e, r, splat8(1.0f / 120));
  e = fma8(e, r, splat8(1.0f / 24));
  e = fma8(e, r, splat8(1.0f / 6));
  e = fma8(e, r, splat8(0.5f));
  e = fma8(e, r, splat8(1.0f));
  e = fma8(e, r, splat8(1.0f));
  // 2^n in two factors: n of a subnormal or infinite result has no exponent of its own.
  const Int8 exponent = std::bit_cast<Int8>(shifted) - std::bit_cast<int32_t>(kRound);
  const Int8 half = exponent >> 1;
  const Float8 scale0 = std::bit_cast<Float8>((half + 127) << 23);
  const Float8 scale1 = std::bit_cast<Float8>((exponent - half + 127) << 23);
  return e * scale0 * scale1;
}

// tanh within 2 ulp or so; NaN stays NaN. Near 0, where 1 - 2 / (e^2|x| + 1) would cancel, by the polynomial of
// Moshier's Cephes library (tanhf.c).
inline Float8 tanh8(Float8 x) {
  const Float8 magnitude = max8(x, -x);
  const Float8 square = x * x;
  Float8 p = splat8(-5.70498872745e-3f);
  for (const float c : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f}) {
    p = fma8(p, square, splat8(c));
  }
  const Float8 near = fma8(p * square, x, x);
  const Float8 far = 1.0f - 2.0f / (exp8(2.0f * magnitude) + 1.0f);
  return magnitude < 0.625f ? near : (x < 0.0f ? -far : far);
}

inline float exp_float(float x) { return exp8(splat8(x))[0]; }

}  // namespace cohort
