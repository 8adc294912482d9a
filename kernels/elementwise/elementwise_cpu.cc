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
