#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/gemm/kernels_cuda.h"

namespace cohort::cuda {
namespace {

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    store_with_bias_kernel(T* out, const float* sums, const float* bias, RowLayout layout) {
  let_next_begin();
  wait_for_previous();
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    const int64_t count = layout.n - begin;
    auto value = load<float, kVecSize>(sums + row * layout.x_stride + begin, count);
    const auto added = load<float, kVecSize>(bias + begin, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) value.values[i] += added.values[i];
    store<T, kVecSize>(out + row * layout.out_stride + begin, value, count);
  });
}

}  // namespace

void store_with_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, sums, false);
  const bool is_vectorized =
      is_aligned(out, layout.out_stride) && is_aligned(sums, layout.x_stride) && is_aligned(bias.data());
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize);
      launch_chained(store_with_bias_kernel<D, kVecSize>, config.grid, config.block, 0, handle,
                     static_cast<D*>(out.data()), sums.data<float>(), bias.data<float>(), layout);
    });
  });
}

}  // namespace cohort::cuda
