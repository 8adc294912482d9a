// Rows by AVX2 and F16C, for the kernels of every x86 instruction set: this is a small part of a
// product.
#include <immintrin.h>

#include <cstring>

#include "kernels/gemm/kernels.h"
#include "kernels/gemm/layout.h"
#include "kernels/gemm/rows.h"

namespace cohort::gemm_internal {
namespace {

template <typename T>
const T* row_of(const void* x, int64_t stride, int64_t row) {
  return static_cast<const T*>(x) + row * stride;
}

template <typename T>
T* packed_row(void* packed, int64_t row) {
  return reinterpret_cast<T*>(static_cast<char*>(packed) + row * kPackedRowBytes);
}

template <typename T>
void zero_tail(T* row, int64_t num_k, int64_t padded_k) {
  if (padded_k > num_k) {
    std::memset(static_cast<void*>(row + num_k), 0, static_cast<size_t>(padded_k - num_k) * sizeof(T));
  }
}

// 16 pairs of bfloat16, split.
void split_group(float* split, const __m256i* pairs) {
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  for (int i = 0; i < 2; ++i) {
    const __m256i eight = _mm256_loadu_si256(pairs + i);
    _mm256_storeu_ps(split + 8 * i, _mm256_castsi256_ps(_mm256_slli_epi32(eight, 16)));
    _mm256_storeu_ps(split + 16 + 8 * i, _mm256_castsi256_ps(_mm256_and_si256(eight, mask)));
  }
}

// Eight float32 to bfloat16 in the low halves of 32-bit lanes; as bf16(float) does it.
__m256i round_to_bf16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i is_odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
  const __m256i nan = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256 is_nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
  return _mm256_blendv_epi8(rounded, nan, _mm256_castps_si256(is_nan));
}

void store_eight(float* out, __m256 value) { _mm256_storeu_ps(out, value); }
void store_eight(f16* out, __m256 value) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
void store_eight(bf16* out, __m256 value) {
  const __m256i lanes = round_to_bf16(value);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packus_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1)));
}

template <typename T>
void store_row_as(T* out, const float* sums, const float* bias, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 value = _mm256_loadu_ps(sums + i);
    if (bias != nullptr) value = _mm256_add_ps(value, _mm256_loadu_ps(bias + i));
    store_eight(out + i, value);
  }
  for (; i < n; ++i) out[i] = static_cast<T>(bias != nullptr ? sums[i] + bias[i] : sums[i]);
}

}  // namespace

void pack_rows_f32(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  for (int64_t r = 0; r < num_rows; ++r) {
    float* row = packed_row<float>(packed, r);
    std::memcpy(row, row_of<float>(x, stride, r), static_cast<size_t>(num_k) * sizeof(float));
    zero_tail(row, num_k, padded_k);
  }
}

void pack_rows_f16(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  for (int64_t r = 0; r < num_rows; ++r) {
    const f16* from = row_of<f16>(x, stride, r);
    float* row = packed_row<float>(packed, r);
    int64_t k = 0;
    for (; k + 8 <= num_k; k += 8) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k));
      _mm256_storeu_ps(row + k, _mm256_cvtph_ps(eight));
    }
    for (; k < num_k; ++k) row[k] = _cvtsh_ss(from[k].bits);
    zero_tail(row, num_k, padded_k);
  }
}

void pack_rows_bf16_split(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k,
                          int64_t padded_k) {
  for (int64_t r = 0; r < num_rows; ++r) {
    const bf16* from = row_of<bf16>(x, stride, r);
    float* row = packed_row<float>(packed, r);
    int64_t k = 0;
    for (; k + kPairGroup <= num_k; k += kPairGroup) {
      split_group(row + k, reinterpret_cast<const __m256i*>(from + k));
    }
    for (; k < padded_k; k += kPairGroup) {
      alignas(32) bf16 last[kPairGroup] = {};
      if (k < num_k) {
        std::memcpy(static_cast<void*>(last), from + k, static_cast<size_t>(num_k - k) * sizeof(bf16));
      }
      split_group(row + k, reinterpret_cast<const __m256i*>(last));
    }
  }
}

void pack_rows_bf16(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  for (int64_t r = 0; r < num_rows; ++r) {
    bf16* row = packed_row<bf16>(packed, r);
    std::memcpy(static_cast<void*>(row), row_of<bf16>(x, stride, r), static_cast<size_t>(num_k) * sizeof(bf16));
    zero_tail(row, num_k, padded_k);
  }
  for (int64_t r = num_rows; r < round_up(num_rows, 16); ++r) {
    zero_tail(packed_row<bf16>(packed, r), 0, padded_k);
  }
}

void store_row(void* out, DType dtype, const float* sums, const float* bias, int64_t n) {
  dispatch_float(dtype, [&]<typename T>() { store_row_as(static_cast<T*>(out), sums, bias, n); });
}

void add_row(float* into, const float* other, int64_t n) {
  for (int64_t i = 0; i < n; ++i) into[i] += other[i];
}

}  // namespace cohort::gemm_internal
