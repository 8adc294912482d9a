#include <algorithm>
#include <functional>

#include "kernels/activation/activation_backends.h"
#include "kernels/core/vector_math.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinElementsPerPiece = 4096;  // below this, waking a thread costs more than it saves

// 1 / (1 + e^-x)
Float8 sigmoid8(Float8 x) { return 1.0f / (1.0f + exp8(-x)); }

struct Relu {
  static Float8 apply(Float8 x) {
    return max8(splat8(0.0f), x);  // in this order NaN stays NaN
  }
};

// Phi(-x) = erfc(x / sqrt(2)) / 2 for x >= 0, as e^(-x^2 / 2) t P(t) with t = 1 / (1 + 0.28 x). P
// is a Chebyshev fit for x up to 14.5, off by at most 3e-9; beyond, all but e^(-x^2 / 2) hardly
// matters. Relative to Phi(-x) the error stays below 5e-7.
Float8 normal_tail8(Float8 x) {
  const Float8 t = 1.0f / fma8(splat8(0.28f), x, splat8(1.0f));
  Float8 p = splat8(-0.01483332116f);
  for (const float c : {0.1016046923f, -0.2642133453f, 0.3044490233f, -0.1684669641f, 0.1514837714f, 0.0593744852f,
                        0.1076556213f, 0.1112208077f, 0.1117252305f}) {
    p = fma8(p, t, splat8(c));
  }
  const Float8 square = x * x;
  const Float8 lost = fma8(x, x, -square);  // what rounding took from the square
  return exp8(-0.5f * square) * (1.0f - 0.5f * lost) * (t * p);
}

struct Gelu {
  static Float8 apply(Float8 x) {
    const Float8 magnitude = max8(x, -x);
    const Float8 bounded = min8(splat8(15.0f), magnitude);  // Phi(-15) is 0 in float32; NaN stays
    const Float8 tail = normal_tail8(bounded);
    return x * (x < 0.0f ? tail : 1.0f - tail);
  }
};

struct GeluTanh {
  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u), which does not cancel for negative x.
  static Float8 apply(Float8 x) {
    constexpr float kTwoSqrt2OverPi = 1.5957691216f;
    const Float8 u = kTwoSqrt2OverPi * (x + 0.044715f * (x * x * x));
    return x * sigmoid8(u);
  }
};

struct Silu {
  static Float8 apply(Float8 x) { return x * sigmoid8(x); }
};

struct Tanh {
  static Float8 apply(Float8 x) { return tanh8(x); }
};

template <typename Op, typename T>
void activate_row(T* out, const T* x, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto extent) { store8(out + i, Op::apply(load8(x + i, extent)), extent); });
}

template <typename Op, typename T>
void activate_gated_row(T* out, const T* gate, const T* up, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto extent) {
    store8(out + i, Op::apply(load8(gate + i, extent)) * load8(up + i, extent), extent);
  });
}

int64_t grain_of(const TensorView& out) { return std::max<int64_t>(1, kMinElementsPerPiece / out.dim(1)); }

}  // namespace

void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream) {
  dispatch_float(out.dtype(), [&]<typename T>() {
    dispatch_activation<Relu, Gelu, GeluTanh, Silu, Tanh>(activation, [&]<typename Op>() {
      const auto body = [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          activate_row<Op>(out.row<T>(i), x.row<T>(i), out.dim(1));
        }
      };
      stream.parallel_for(out.dim(0), grain_of(out), std::ref(body));
    });
  });
}

void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation, Stream& stream) {
  dispatch_float(out.dtype(), [&]<typename T>() {
    dispatch_activation<Relu, Gelu, GeluTanh, Silu, Tanh>(activation, [&]<typename Op>() {
      const auto body = [&](int64_t begin, int64_t end) {
        const int64_t n = out.dim(1);
        for (int64_t i = begin; i < end; ++i) {
          const T* const gate = gate_up.row<T>(i);
          activate_gated_row<Op>(out.row<T>(i), gate, gate + n, n);
        }
      };
      stream.parallel_for(out.dim(0), grain_of(out), std::ref(body));
    });
  });
}

}  // namespace cohort::cpu
