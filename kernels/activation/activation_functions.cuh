// Activation functions on the device, in float32. Only for files that are compiled with CUDA.
//
// Sums and products that meet are rounded one by one, as on the CPU: what a compiler fuses could differ between
// kernels.
#pragma once

namespace cohort::cuda {

// x / (1 + e^-u), in a third of the time of the division that rounds correctly, which many elements would wait for.
// Within 2 ulp; 0 where the quotient is below 1e-36 * x.
__device__ inline float times_sigmoid(float x, float u) { return __fdividef(x, __fadd_rn(1.0f, expf(-u))); }

struct Relu {
  static __device__ float apply(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays
};

// Phi(-x) for 0 <= x <= 15: the fit of activation_cpu.cc.
__device__ inline float normal_tail(float x) {
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

struct Tanh {
  static __device__ float apply(float x) { return tanhf(x); }
};

}  // namespace cohort::cuda
