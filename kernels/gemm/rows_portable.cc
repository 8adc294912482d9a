// Rows in plain C++, for a build for another CPU than x86.
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/layout.h"
#include "kernels/gemm/rows.h"

namespace cohort::gemm_internal {
namespace {

template <typename T>
T* packed_row(void* packed, int64_t row) {
  return reinterpret_cast<T*>(static_cast<char*>(packed) + row * kPackedRowBytes);
}

int64_t in_order(int64_t k) { return k; }

// Of each 32 elements first the even ones.
int64_t split(int64_t k) {
  const int64_t place = k % kPairGroup;
  return k - place + place / 2 + place % 2 * (kPairGroup / 2);
}

template <typename To, typename From, int64_t (*place)(int64_t)>
void pack_rows(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  for (int64_t r = 0; r < num_rows; ++r) {
    const From* from = static_cast<const From*>(x) + r * stride;
    To* row = packed_row<To>(packed, r);
    for (int64_t k = 0; k < padded_k; ++k) {
      row[place(k)] = k < num_k ? static_cast<To>(from[k]) : To();
    }
  }
}

}  // namespace

void pack_rows_f32(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  pack_rows<float, float, in_order>(packed, x, stride, num_rows, num_k, padded_k);
}

void pack_rows_f16(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  pack_rows<float, f16, in_order>(packed, x, stride, num_rows, num_k, padded_k);
}

void pack_rows_bf16_split(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k,
                          int64_t padded_k) {
  pack_rows<float, bf16, split>(packed, x, stride, num_rows, num_k, padded_k);
}

void pack_rows_bf16(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k, int64_t padded_k) {
  pack_rows<bf16, bf16, in_order>(packed, x, stride, num_rows, num_k, padded_k);
  for (int64_t r = num_rows; r < round_up(num_rows, 16); ++r) {
    for (int64_t k = 0; k < padded_k; ++k) packed_row<bf16>(packed, r)[k] = bf16();
  }
}

void store_row(void* out, DType dtype, const float* sums, const float* bias, int64_t n) {
  dispatch_float(dtype, [&]<typename T>() {
    for (int64_t i = 0; i < n; ++i) {
      static_cast<T*>(out)[i] = static_cast<T>(bias != nullptr ? sums[i] + bias[i] : sums[i]);
    }
  });
}

void add_row(float* into, const float* other, int64_t n) {
  for (int64_t i = 0; i < n; ++i) into[i] += other[i];
}

}  // namespace cohort::gemm_internal
