#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "kernels/activation/activation.h"
#include "kernels/activation/vector_math.h"

namespace cohort {
namespace {

constexpr int64_t kMinElementsPerPiece =
    4096;  // below this, waking a thread costs more than it saves

// 1 / (1 + e^-x)
Float8 sigmoid8(Float8 x) { return 1.0f / (1.0f + exp8(-x)); }

struct Relu {
  static Float8 apply(Float8 x) {
    return max8(splat8(0.0f), x);  // in this order NaN stays NaN
  }
};

struct Gelu {
  static Float8 apply(Float8 x) {
    for (int i = 0; i < kLanes; ++i) x[i] *= 0.5f * (1.0f + std::erf(x[i] * 0.70710678f));
    return x;
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

// Calls f.template operator()<Op>() with the struct above for `activation`.
template <typename F>
void dispatch_activation(Activation activation, F&& f) {
  switch (activation) {
    case Activation::kRelu:
      return f.template operator()<Relu>();
    case Activation::kGelu:
      return f.template operator()<Gelu>();
    case Activation::kGeluTanh:
      return f.template operator()<GeluTanh>();
    case Activation::kSilu:
      return f.template operator()<Silu>();
  }
  COHORT_CHECK(false, "activation " + std::to_string(static_cast<int>(activation)));
}

template <typename Op, typename T>
void activate_row(T* out, const T* x, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store8_of(out, i, n, Op::apply(load8_of(x, i, n)));
}

template <typename Op, typename T>
void activate_gated_row(T* out, const T* gate, const T* up, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    store8_of(out, i, n, Op::apply(load8_of(gate, i, n)) * load8_of(up, i, n));
  }
}

int64_t grain_of(const TensorView& out) {
  return std::max<int64_t>(1, kMinElementsPerPiece / out.dim(1));
}

}  // namespace

std::optional<Activation> activation_from_name(std::string_view name) {
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return Activation::kGeluTanh;
  }
  if (name == "silu" || name == "swish") return Activation::kSilu;
  return std::nullopt;
}

void activate(TensorView out, ConstTensorView x, Activation activation, Stream& stream) {
  COHORT_CHECK(stream.device() == kCpuDevice, to_string(stream.device()));
  COHORT_CHECK(out.rank() == 2 && out.shape() == x.shape(),
               "out " + out.shape().to_string() + ", x " + x.shape().to_string());
  COHORT_CHECK(out.dtype() == x.dtype(), dtype_name(x.dtype()));
  if (out.empty()) return;
  dispatch_float(out.dtype(), [&]<typename T>() {
    dispatch_activation(activation, [&]<typename Op>() {
      const auto body = [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          activate_row<Op>(out.row<T>(i), x.row<T>(i), out.dim(1));
        }
      };
      stream.parallel_for(out.dim(0), grain_of(out), std::ref(body));
    });
  });
}

void activate_gated(TensorView out, ConstTensorView gate_up, Activation activation,
                    Stream& stream) {
  COHORT_CHECK(stream.device() == kCpuDevice, to_string(stream.device()));
  COHORT_CHECK(out.rank() == 2 && gate_up.rank() == 2 && out.dim(0) == gate_up.dim(0) &&
                   2 * out.dim(1) == gate_up.dim(1),
               "out " + out.shape().to_string() + ", gate_up " + gate_up.shape().to_string());
  COHORT_CHECK(out.dtype() == gate_up.dtype(), dtype_name(out.dtype()));
  if (out.empty()) return;
  dispatch_float(out.dtype(), [&]<typename T>() {
    dispatch_activation(activation, [&]<typename Op>() {
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

}  // namespace cohort
