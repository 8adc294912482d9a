#include <algorithm>
#include <cstring>
#include <functional>

#include "kernels/core/vector_math.h"
#include "kernels/elementwise/elementwise_backends.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinElementsPerPiece = 16384;  // below this, waking a thread costs more than it saves

// Runs body(row, begin, end) over pieces of the elements of `out`, [num_rows, n]: a lone long row is cut as well.
template <typename Body>
void for_each_piece(const TensorView& out, Stream& stream, const Body& body) {
  const int64_t n = out.dim(1);
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / n;
      const int64_t stop = std::min(end, (row + 1) * n);
      body(row, i - row * n, stop - row * n);
      i = stop;
    }
  };
  stream.parallel_for(out.num_elements(), kMinElementsPerPiece, std::ref(run));
}

// tanh within 2 ulp or so; NaN stays NaN. Near 0, where 1 - 2 / (e^2|x| + 1) would cancel, by the polynomial of
// Moshier's Cephes library (tanhf.c).
Float8 tanh8(Float8 x) {
  const Float8 magnitude = max8(x, -x);
  const Float8 square = x * x;
  Float8 p = splat8(-5.70498872745e-3f);
  for (const float c : {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f}) {
    p = fma8(p, square, splat8(c));
  }
  const Float8 near = fma8(p * square, x, x);
  const Float8 far = 1.0f - 2.0f / (exp8(2.0f * magnitude) + 1.0f);
  return magnitude < 0.625f ? near : (x < 0.0f ? -far : far);
}

// x = f(x)
template <typename F>
void apply(const TensorView& x, Stream& stream, const F& f) {
  dispatch_float(x.dtype(), [&]<typename T>() {
    for_each_piece(x, stream, [&](int64_t row, int64_t begin, int64_t end) {
      T* const into = x.row<T>(row) + begin;
      for_each_vector(end - begin,
                      [&](int64_t i, auto extent) { store8(into + i, f(load8(into + i, extent)), extent); });
    });
  });
}

}  // namespace

void add(TensorView sums, ConstTensorView x, Stream& stream) {
  dispatch_float(sums.dtype(), [&]<typename T>() {
    for_each_piece(sums, stream, [&](int64_t row, int64_t begin, int64_t end) {
      T* const into = sums.row<T>(row) + begin;
      const T* const from = x.row<T>(row) + begin;
      for_each_vector(end - begin, [&](int64_t i, auto extent) {
        store8(into + i, load8(into + i, extent) + load8(from + i, extent), extent);
      });
    });
  });
}

void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream) {
  dispatch_float(out.dtype(), [&]<typename T>() {
    for_each_piece(out, stream, [&](int64_t row, int64_t begin, int64_t end) {
      T* const into = out.row<T>(row) + begin;
      const float* const from = sums.row<float>(row) + begin;
      const float* const added = bias.empty() ? nullptr : bias.data<float>() + begin;
      for_each_vector(end - begin, [&](int64_t i, auto extent) {
        Float8 value = load8(from + i, extent);
        if (added != nullptr) value = value + load8(added + i, extent);
        store8(into + i, value, extent);
      });
    });
  });
}

void copy_rows(TensorView out, ConstTensorView x, Stream& stream) {
  const int64_t element_bytes = dtype_bits(x.dtype()) / 8;
  for_each_piece(out, stream, [&](int64_t row, int64_t begin, int64_t end) {
    char* const into = static_cast<char*>(out.data()) + (row * out.stride(0) + begin) * element_bytes;
    const char* const from = static_cast<const char*>(x.data()) + (row * x.stride(0) + begin) * element_bytes;
    std::memcpy(into, from, static_cast<size_t>((end - begin) * element_bytes));
  });
}

void scale(TensorView x, float factor, Stream& stream) {
  apply(x, stream, [&](Float8 value) { return value * factor; });
}

void soft_cap(TensorView x, float cap, Stream& stream) {
  apply(x, stream, [&](Float8 value) { return cap * tanh8(value / cap); });
}

}  // namespace cohort::cpu
