#include "kernels/core/cuda_rows.cuh"
#include "kernels/elementwise/elementwise_backends.h"

namespace cohort::cuda {
namespace {

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads) add_kernel(T* sums, const T* x, RowLayout layout) {
  begin_chained();
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
__global__ void __launch_bounds__(kNumRowThreads)
    add_bias_kernel(T* out, const float* sums, const float* bias, RowLayout layout) {
  begin_chained();
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

// Piece: what kVecSize elements are loaded and stored as.
template <typename Piece, typename T>
__global__ void __launch_bounds__(kNumRowThreads) copy_kernel(T* out, const T* x, RowLayout layout) {
  constexpr int kVecSize = sizeof(Piece) / sizeof(T);
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    const T* const from = x + row * layout.x_stride;
    T* const to = out + row * layout.out_stride;
    if (begin + kVecSize <= layout.n) {
      *reinterpret_cast<Piece*>(to + begin) = *reinterpret_cast<const Piece*>(from + begin);
    } else {
      for (int64_t i = begin; i < layout.n; ++i) to[i] = from[i];
    }
  });
}

struct Scale {
  float factor;
  __device__ float operator()(float x) const { return __fmul_rn(x, factor); }
};

struct SoftCap {
  float cap;
  __device__ float operator()(float x) const { return __fmul_rn(cap, tanhf(__fdiv_rn(x, cap))); }
};

// x = f(x). Rows lie layout.out_stride apart.
template <typename T, int kVecSize, typename F>
__global__ void __launch_bounds__(kNumRowThreads) apply_kernel(T* x, F f, RowLayout layout) {
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    T* const at = x + row * layout.out_stride + begin;
    const int64_t count = layout.n - begin;
    auto value = load<T, kVecSize>(at, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) value.values[i] = f(value.values[i]);
    store<T, kVecSize>(at, value, count);
  });
}

template <typename F>
void apply(const TensorView& x, F f, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(x, x, x.is_dense());
  dispatch_float(x.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_aligned(x, layout.out_stride), [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize);
      launch_chained(apply_kernel<D, kVecSize, F>, config.grid, config.block, 0, handle, static_cast<D*>(x.data()), f,
                     layout);
    });
  });
}

}  // namespace

void add(TensorView sums, ConstTensorView x, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(sums, x, sums.is_dense() && x.is_dense());
  dispatch_float(sums.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    const bool is_vectorized = is_aligned(sums, layout.out_stride) && is_aligned(x, layout.x_stride);
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize);
      launch_chained(add_kernel<D, kVecSize>, config.grid, config.block, 0, handle, static_cast<D*>(sums.data()),
                     static_cast<const D*>(x.data()), layout);
    });
  });
}

void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, sums, bias.empty() && out.is_dense() && sums.is_dense());
  const float* const added = bias.empty() ? nullptr : bias.data<float>();
  const bool is_vectorized =
      is_aligned(out, layout.out_stride) && is_aligned(sums, layout.x_stride) && is_aligned(added);
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize);
      launch_chained(add_bias_kernel<D, kVecSize>, config.grid, config.block, 0, handle, static_cast<D*>(out.data()),
                     sums.data<float>(), added, layout);
    });
  });
}

void copy_rows(TensorView out, ConstTensorView x, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, x, out.is_dense() && x.is_dense());
  const auto bytes = [&](int64_t num_elements) { return dtype_bytes(x.dtype(), num_elements); };
  const bool is_vectorized = is_aligned(out, layout.out_stride) && is_aligned(x, layout.x_stride);
  const auto launch = [&]<typename Piece, typename T>(const RowLayout& units) {
    const LaunchConfig config = choose_config(units, sizeof(Piece) / sizeof(T));
    launch_chained(copy_kernel<Piece, T>, config.grid, config.block, 0, handle, static_cast<T*>(out.data()),
                   static_cast<const T*>(x.data()), units);
  };
  if (is_vectorized) {
    return launch.template operator()<uint4, uint8_t>(
        {layout.num_rows, bytes(layout.n), bytes(layout.out_stride), bytes(layout.x_stride)});
  }
  switch (bytes(1)) {
    case 1:
      return launch.template operator()<uint8_t, uint8_t>(layout);
    case 2:
      return launch.template operator()<uint16_t, uint16_t>(layout);
    case 4:
      return launch.template operator()<uint32_t, uint32_t>(layout);
    default:
      return launch.template operator()<uint64_t, uint64_t>(layout);
  }
}

void scale(TensorView x, float factor, Stream& stream) { apply(x, Scale{factor}, stream); }

void soft_cap(TensorView x, float cap, Stream& stream) { apply(x, SoftCap{cap}, stream); }

}  // namespace cohort::cuda
