// What CUDA kernels share in reading and writing elements: device types, conversion, vectors. Only for files that are
// compiled with CUDA.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>

#include "kernels/core/cuda_check.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::cuda {

inline constexpr int kVecBytes = 16;

// What the device computes with in place of T: the same bits.
template <typename T>
struct DeviceTypeOf {
  using type = T;
};
template <>
struct DeviceTypeOf<f16> {
  using type = __half;
};
template <>
struct DeviceTypeOf<bf16> {
  using type = __nv_bfloat16;
};
template <typename T>
using DeviceType = typename DeviceTypeOf<T>::type;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// To nearest, ties to even, like the CPU.
template <typename T>
__device__ T round_to(float x);
template <>
__device__ inline float round_to<float>(float x) {
  return x;
}
template <>
__device__ inline __half round_to<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 round_to<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Loaded and stored at once; wider than kVecBytes, at 16 bytes a time.
template <typename T, int kVecSize>
struct alignas(std::min<size_t>(sizeof(T) * kVecSize, kVecBytes)) Vec {
  T values[kVecSize];
};

// Elements [0, count) of p, the others 0. kIsAligned: p is where a vector may be.
template <typename T, int kVecSize, bool kIsAligned = true>
__device__ Vec<T, kVecSize> load_bits(const T* p, int64_t count) {
  if (kIsAligned && count >= kVecSize) return *reinterpret_cast<const Vec<T, kVecSize>*>(p);
  Vec<T, kVecSize> x = {};
#pragma unroll  // an index that is not known when compiling would put the vector into memory
  for (int i = 0; i < kVecSize; ++i) {
    if (i < count) x.values[i] = p[i];
  }
  return x;
}

template <typename T, int kVecSize>
__device__ Vec<float, kVecSize> to_float(const Vec<T, kVecSize>& bits) {
  Vec<float, kVecSize> x;
#pragma unroll
  for (int i = 0; i < kVecSize; ++i) x.values[i] = to_float(bits.values[i]);
  return x;
}

template <typename T, int kVecSize, bool kIsAligned = true>
__device__ Vec<float, kVecSize> load(const T* p, int64_t count) {
  return to_float(load_bits<T, kVecSize, kIsAligned>(p, count));
}

template <typename T, int kVecSize, bool kIsAligned = true>
__device__ void store(T* p, const Vec<float, kVecSize>& x, int64_t count) {
  if (kIsAligned && count >= kVecSize) {
    Vec<T, kVecSize> raw;
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) raw.values[i] = round_to<T>(x.values[i]);
    *reinterpret_cast<Vec<T, kVecSize>*>(p) = raw;
  } else {
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) {
      if (i < count) p[i] = round_to<T>(x.values[i]);
    }
  }
}

// Copies the bits of min(count, kVecSize) elements, at once where there are as many as a vector has.
template <typename T, int kVecSize>
__device__ void copy_vec(T* to, const T* from, int64_t count) {
  if (count >= kVecSize) {
    *reinterpret_cast<Vec<T, kVecSize>*>(to) = *reinterpret_cast<const Vec<T, kVecSize>*>(from);
  } else {
    for (int i = 0; i < count; ++i) to[i] = from[i];
  }
}

// Stops the kernel and fails its stream: for what the CPU checks of ids and slots, which only the device can read here.
__device__ inline void check_on_device(bool is_right) {
  if (!is_right) __trap();
}

inline bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kVecBytes == 0; }

// Whether every run that begins a multiple of `stride` elements after the first begins where a vector may. 0 if there
// is one run.
inline bool is_aligned(const ConstTensorView& x, int64_t stride) {
  return is_aligned(x.data()) && dtype_bytes(x.dtype(), stride) % kVecBytes == 0;
}

// Whether every head of every token of x [num_tokens, num_heads, head_dim] begins where a vector may.
inline bool has_aligned_heads(const ConstTensorView& x) {
  return x.empty() || (is_aligned(x, x.stride(0)) && is_aligned(x, x.stride(1)));
}

// Calls f.operator()<kVecSize>() with as many elements of T as fill a vector, or with one.
template <typename T, typename F>
void dispatch_vec_size(bool is_vectorized, F&& f) {
  if (is_vectorized) {
    f.template operator()<static_cast<int>(kVecBytes / sizeof(T))>();
  } else {
    f.template operator()<1>();
  }
}

// The thread that submits need not be the one that made the stream, and a launch goes to the thread's device.
inline cudaStream_t enter(const Stream& stream) {
  COHORT_CUDA_CHECK(cudaSetDevice(stream.device().index));
  return static_cast<cudaStream_t>(stream.handle());
}

}  // namespace cohort::cuda
