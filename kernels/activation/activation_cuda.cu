#include "kernels/activation/activation_backends.h"
#include "kernels/activation/activation_functions.cuh"
#include "kernels/core/cuda_rows.cuh"

namespace cohort::cuda {
namespace {

template <typename Op, typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads) activate_kernel(T* out, const T* x, RowLayout layout) {
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    const int64_t count = layout.n - begin;
    auto value = load<T, kVecSize>(x + row * layout.x_stride + begin, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) value.values[i] = Op::apply(value.values[i]);
    store<T, kVecSize>(out + row * layout.out_stride + begin, value, count);
  });
}

// layout.x_stride is that of gate_up [num_rows, 2 n].
template <typename Op, typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads) activate_gated_kernel(T* out, const T* gate_up, RowLayout layout) {
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    const int64_t count = layout.n - begin;
    const T* const gate = gate_up + row * layout.x_stride + begin;
    auto value = load<T, kVecSize>(gate, count);
    const auto up = load<T, kVecSize>(gate + layout.n, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) value.values[i] = __fmul_rn(Op::apply(value.values[i]), up.values[i]);
    store<T, kVecSize>(out + row * layout.out_stride + begin, value, count);
  });
}

}  // namespace

void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, x, out.is_dense() && x.is_dense());
  const bool is_vectorized = is_aligned(out, layout.out_stride) && is_aligned(x, layout.x_stride);
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_activation<Relu, Gelu, GeluTanh, Silu, Tanh>(activation, [&]<typename Op>() {
      dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
        const LaunchConfig config = choose_config(layout, kVecSize);
        launch_chained(activate_kernel<Op, D, kVecSize>, config.grid, config.block, 0, handle,
                       static_cast<D*>(out.data()), static_cast<const D*>(x.data()), layout);
      });
    });
  });
}

void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, gate_up, false);
  const bool is_vectorized = is_aligned(out, layout.out_stride) && is_aligned(gate_up, layout.x_stride) &&
                             is_aligned(gate_up, layout.n);  // where the second half begins
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_activation<Relu, Gelu, GeluTanh, Silu, Tanh>(activation, [&]<typename Op>() {
      dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
        const LaunchConfig config = choose_config(layout, kVecSize);
        launch_chained(activate_gated_kernel<Op, D, kVecSize>, config.grid, config.block, 0, handle,
                       static_cast<D*>(out.data()), static_cast<const D*>(gate_up.data()), layout);
      });
    });
  });
}

}  // namespace cohort::cuda
