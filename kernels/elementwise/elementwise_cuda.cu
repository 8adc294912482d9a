#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>

#include "kernels/core/cuda_check.h"
#include "kernels/elementwise/elementwise_backends.h"

namespace cohort::cuda {
namespace {

constexpr int kVecBytes = 16;
constexpr int kNumThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;  // 2048 threads, all that one holds

// What the device computes with in place of T: the same bits.
template <typename T>
struct DeviceType {
  using type = T;
};
template <>
struct DeviceType<f16> {
  using type = __half;
};
template <>
struct DeviceType<bf16> {
  using type = __nv_bfloat16;
};

__device__ float to_float(float x) { return x; }
__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// To nearest, ties to even, like the CPU.
template <typename T>
__device__ T round_to(float x);
template <>
__device__ float round_to<float>(float x) {
  return x;
}
template <>
__device__ __half round_to<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __nv_bfloat16 round_to<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Loaded and stored at once; wider than kVecBytes, at 16 bytes a time.
template <typename T, int kVecSize>
struct alignas(std::min<size_t>(sizeof(T) * kVecSize, kVecBytes)) Vec {
  T values[kVecSize];
};

// Elements [0, count) of p, the others 0.
template <typename T, int kVecSize>
__device__ Vec<float, kVecSize> load(const T* p, int64_t count) {
  Vec<float, kVecSize> x = {};
  if (count >= kVecSize) {
    const auto raw = *reinterpret_cast<const Vec<T, kVecSize>*>(p);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) x.values[i] = to_float(raw.values[i]);
  } else {
#pragma unroll  // an index that is not known when compiling would put the vector into memory
    for (int i = 0; i < kVecSize; ++i) {
      if (i < count) x.values[i] = to_float(p[i]);
    }
  }
  return x;
}

template <typename T, int kVecSize>
__device__ void store(T* p, const Vec<float, kVecSize>& x, int64_t count) {
  if (count >= kVecSize) {
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

// Rows of n elements; row i of an operand begins i * stride elements after its first.
struct RowLayout {
  int64_t num_rows;
  int64_t n;
  int64_t out_stride;
  int64_t x_stride;
};

// Calls body(row, begin) for the thread's pieces of kVecSize elements; the last of a row may have fewer.
template <int kVecSize, typename Body>
__device__ void for_each_piece(const RowLayout& layout, const Body& body) {
  const int64_t column_step = int64_t{gridDim.x} * blockDim.x * kVecSize;
  for (int64_t row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < layout.num_rows;
       row += int64_t{gridDim.y} * blockDim.y) {
    int64_t begin = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kVecSize;
    for (; begin < layout.n; begin += column_step) body(row, begin);
  }
}

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumThreads) add_kernel(T* sums, const T* x, RowLayout layout) {
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    T* const into = sums + row * layout.out_stride + begin;
    const int64_t count = layout.n - begin;
    auto value = load<T, kVecSize>(into, count);
    const auto added = load<T, kVecSize>(x + row * layout.x_stride + begin, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) value.values[i] += added.values[i];
    store<T, kVecSize>(into, value, count);
  });
}

// bias may be null.
template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumThreads)
    add_bias_kernel(T* out, const float* sums, const float* bias, RowLayout layout) {
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    const int64_t count = layout.n - begin;
    auto value = load<float, kVecSize>(sums + row * layout.x_stride + begin, count);
    if (bias != nullptr) {
      const auto added = load<float, kVecSize>(bias + begin, count);
#pragma unroll
      for (int i = 0; i < kVecSize; ++i) value.values[i] += added.values[i];
    }
    store<T, kVecSize>(out + row * layout.out_stride + begin, value, count);
  });
}

// Dense rows without a vector of their own are one long row.
RowLayout layout_of(const TensorView& out, const ConstTensorView& x, bool is_one_row) {
  if (is_one_row || out.dim(0) == 1) return {1, out.num_elements(), 0, 0};
  return {out.dim(0), out.dim(1), out.stride(0), x.stride(0)};
}

// Whether every row begins where a vector may. `stride`: elements from row to row, 0 if there is one.
bool is_aligned(const ConstTensorView& x, int64_t stride) {
  return reinterpret_cast<uintptr_t>(x.data()) % kVecBytes == 0 && dtype_bytes(x.dtype(), stride) % kVecBytes == 0;
}

struct LaunchConfig {
  dim3 grid;
  dim3 block;
};

int ceil_div(int64_t a, int64_t b) { return static_cast<int>(std::min<int64_t>((a + b - 1) / b, 1 << 30)); }

// Threads along the row as far as it reaches, the rest across rows; no more blocks than the device holds at once.
LaunchConfig choose_config(const RowLayout& layout, int vec_size, int num_multiprocessors) {
  constexpr int kMaxGridY = 65535;
  const int num_pieces = ceil_div(layout.n, vec_size);
  int threads_x = 32;
  while (threads_x < kNumThreads && threads_x < num_pieces) threads_x *= 2;
  const int threads_y = kNumThreads / threads_x;
  const int max_blocks = num_multiprocessors * kBlocksPerMultiprocessor;
  const int blocks_x = std::min(ceil_div(num_pieces, threads_x), max_blocks);
  const int blocks_y = std::min({ceil_div(layout.num_rows, threads_y), ceil_div(max_blocks, blocks_x), kMaxGridY});
  return {dim3(static_cast<unsigned>(blocks_x), static_cast<unsigned>(blocks_y)),
          dim3(static_cast<unsigned>(threads_x), static_cast<unsigned>(threads_y))};
}

// The thread that submits need not be the one that made the stream, and a launch goes to the thread's device.
cudaStream_t enter(const Stream& stream) {
  COHORT_CUDA_CHECK(cudaSetDevice(stream.device().index));
  return static_cast<cudaStream_t>(stream.handle());
}

int num_multiprocessors(const Stream& stream) {
  int count = 0;
  COHORT_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, stream.device().index));
  return count;
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

}  // namespace

void add(TensorView sums, ConstTensorView x, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(sums, x, sums.is_dense() && x.is_dense());
  dispatch_float(sums.dtype(), [&]<typename T>() {
    using D = typename DeviceType<T>::type;
    const bool is_vectorized = is_aligned(sums, layout.out_stride) && is_aligned(x, layout.x_stride);
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize, num_multiprocessors(stream));
      add_kernel<D, kVecSize><<<config.grid, config.block, 0, handle>>>(static_cast<D*>(sums.data()),
                                                                        static_cast<const D*>(x.data()), layout);
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, sums, bias.empty() && out.is_dense() && sums.is_dense());
  const float* const added = bias.empty() ? nullptr : bias.data<float>();
  const bool is_vectorized = is_aligned(out, layout.out_stride) && is_aligned(sums, layout.x_stride) &&
                             reinterpret_cast<uintptr_t>(added) % kVecBytes == 0;
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = typename DeviceType<T>::type;
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize, num_multiprocessors(stream));
      add_bias_kernel<D, kVecSize>
          <<<config.grid, config.block, 0, handle>>>(static_cast<D*>(out.data()), sums.data<float>(), added, layout);
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

void copy_rows(TensorView out, ConstTensorView x, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const auto num_bytes = [&](int64_t num_elements) {
    return static_cast<size_t>(dtype_bytes(x.dtype(), num_elements));
  };
  if (out.dim(0) == 1 || (out.is_dense() && x.is_dense())) {
    COHORT_CUDA_CHECK(
        cudaMemcpyAsync(out.data(), x.data(), num_bytes(x.num_elements()), cudaMemcpyDeviceToDevice, handle));
  } else {
    COHORT_CUDA_CHECK(cudaMemcpy2DAsync(out.data(), num_bytes(out.stride(0)), x.data(), num_bytes(x.stride(0)),
                                        num_bytes(x.dim(1)), static_cast<size_t>(x.dim(0)), cudaMemcpyDeviceToDevice,
                                        handle));
  }
}

}  // namespace cohort::cuda
