#include "kernels/activation/activation_backends.h"
#include "kernels/core/cuda_rows.cuh"

namespace cohort::cuda {
namespace {

// Sums and products that meet are rounded one by one, as on the CPU: what a compiler fuses could differ between the
// kernels of aligned and other rows.

// x / (1 + e^-u), in a third of the time of the division that rounds correctly, which many elements would wait for.
// Within 2 ulp; 0 where the quotient is below 1e-36 * x.
__device__ float times_sigmoid(float x, float u) { return __fdividef(x, __fadd_rn(1.0f, expf(-u))); }

struct Relu {
  static __device__ float apply(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays
};

// Phi(-x) for 0 <= x <= 15: the fit of activation_cpu.cc.
__device__ float normal_tail(float x) {
  const float t = 1.0f / __fmaf_rn(0.28f, x, 1.0f);
  float p = -0.01483332116f;
  p = __fmaf_rn(p, t, 0.1016046923f);
  p = __fmaf_rn(p, t, -0.2642133453f);
  p = __fmaf_rn(p, t, 0.3044490233f);
  p = __fmaf_rn(p, t, -0.1684669641f);
  p = __fmaf_rn(p, t, 0.1514837714f);
  p = __fmaf_rn(p, t, 0.0593744852f);
  p = __fmaf_rn(p, t, 0.1076556213f);
  p = __fmaf_rn(p, t, 0.1112208077f);
  p = __fmaf_rn(p, t, 0.1117252305f);
  const float square = __fmul_rn(x, x);
  const float lost = __fmaf_rn(x, x, -square);  // what rounding took from the square
  return __fmul_rn(__fmul_rn(expf(-0.5f * square), __fmaf_rn(-0.5f, lost, 1.0f)), __fmul_rn(t, p));
}

struct Gelu {
  static __device__ float apply(float x) {
    const float magnitude = fabsf(x);
    const float tail = normal_tail(magnitude > 15.0f ? 15.0f : magnitude);  // Phi(-15) is 0 in float32; NaN stays
    return __fmul_rn(x, x < 0.0f ? tail : __fsub_rn(1.0f, tail));
  }
};

struct GeluTanh {
  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u), which does not cancel for negative x.
  static __device__ float apply(float x) {
    constexpr float kTwoSqrt2OverPi = 1.5957691216f;
    const float cube = __fmul_rn(__fmul_rn(x, x), x);
    return times_sigmoid(x, __fmul_rn(kTwoSqrt2OverPi, __fadd_rn(x, __fmul_rn(0.044715f, cube))));
  }
};

struct Silu {
  static __device__ float apply(float x) { return times_sigmoid(x, x); }
};

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
    dispatch_activation<Relu, Gelu, GeluTanh, Silu>(activation, [&]<typename Op>() {
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
    dispatch_activation<Relu, Gelu, GeluTanh, Silu>(activation, [&]<typename Op>() {
      dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
        const LaunchConfig config = choose_config(layout, kVecSize);
        launch_chained(activate_gated_kernel<Op, D, kVecSize>, config.grid, config.block, 0, handle,
                       static_cast<D*>(out.data()), static_cast<const D*>(gate_up.data()), layout);
      });
    });
  });
}

}  // namespace cohort::cuda
