#include "kernels/core/cuda_check.h"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/elementwise/elementwise_backends.h"

namespace cohort::cuda {
namespace {

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads) add_kernel(T* sums, const T* x, RowLayout layout) {
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

}  // namespace

void add(TensorView sums, ConstTensorView x, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(sums, x, sums.is_dense() && x.is_dense());
  dispatch_float(sums.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    const bool is_vectorized = is_aligned(sums, layout.out_stride) && is_aligned(x, layout.x_stride);
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize, stream);
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
  const bool is_vectorized =
      is_aligned(out, layout.out_stride) && is_aligned(sums, layout.x_stride) && is_aligned(added);
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize, stream);
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
