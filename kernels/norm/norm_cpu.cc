#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/norm/norm_backends.h"
#include "kernels/norm/norm_row_cpu.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinElementsPerPiece = 8192;  // below this, waking a thread costs more than it saves

// residual += x, rounded to T.
template <typename T>
void add_row(T* residual, const T* x, int64_t hidden) {
  for_each_vector(hidden, [&](int64_t i, auto extent) {
    store8(residual + i, load8(residual + i, extent) + load8(x + i, extent), extent);
  });
}

// x - mean. The zeros behind a row's end are not elements of it and stay.
template <typename T>
Float8 centered(const T* x, float mean, Whole) {
  return load8(x) - mean;
}

template <typename T>
Float8 centered(const T* x, float mean, Part part) {
  Float8 v = load8(x, part) - mean;
  for (int64_t k = part.count; k < kLanes; ++k) v[k] = 0;
  return v;
}

template <typename T>
void layer_norm_row(T* out, const T* x, const float* weight, const float* bias, int64_t hidden, float eps) {
  const auto n = static_cast<float>(hidden);
  const float sum = sum_row(hidden, [&](int64_t i, auto extent, Float8 part) { return part + load8(x + i, extent); });
  const float mean = sum / n;
  const float squares = sum_row(hidden, [&](int64_t i, auto extent, Float8 part) {
    const Float8 v = centered(x + i, mean, extent);
    return fma8(v, v, part);
  });
  const float scale = 1.0f / std::sqrt(squares / n + eps);
  for_each_vector(hidden, [&](int64_t i, auto extent) {
    Float8 v = (load8(x + i, extent) - mean) * scale * load8(weight + i, extent);
    if (bias != nullptr) v += load8(bias + i, extent);
    store8(out + i, v, extent);
  });
}

const float* data_or_null(const ConstTensorView& bias) { return bias.empty() ? nullptr : bias.data<float>(); }

// Calls row(i) for every row, in parallel.
template <typename F>
void for_each_row(const TensorView& out, Stream& stream, const F& row) {
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) row(i);
  };
  const int64_t grain = std::max<int64_t>(1, kMinElementsPerPiece / out.dim(1));
  stream.parallel_for(out.dim(0), grain, std::ref(body));
}

}  // namespace

void rms_norm(TensorView out, ConstTensorView x, ConstTensorView weight, float eps, Stream& stream) {
  const float* const w = weight.data<float>();
  dispatch_float(out.dtype(), [&]<typename T>() {
    for_each_row(out, stream, [&](int64_t i) { rms_norm_row(out.row<T>(i), x.row<T>(i), w, out.dim(1), eps); });
  });
}

void add_rms_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight, float eps,
                  Stream& stream) {
  const float* const w = weight.data<float>();
  dispatch_float(out.dtype(), [&]<typename T>() {
    for_each_row(out, stream, [&](int64_t i) {
      add_row(residual.row<T>(i), x.row<T>(i), out.dim(1));
      rms_norm_row(out.row<T>(i), residual.row<T>(i), w, out.dim(1), eps);
    });
  });
}

void layer_norm(TensorView out, ConstTensorView x, ConstTensorView weight, ConstTensorView bias, float eps,
                Stream& stream) {
  const float* const w = weight.data<float>();
  const float* const b = data_or_null(bias);
  dispatch_float(out.dtype(), [&]<typename T>() {
    for_each_row(out, stream, [&](int64_t i) { layer_norm_row(out.row<T>(i), x.row<T>(i), w, b, out.dim(1), eps); });
  });
}

void add_layer_norm(TensorView out, TensorView residual, ConstTensorView x, ConstTensorView weight,
                    ConstTensorView bias, float eps, Stream& stream) {
  const float* const w = weight.data<float>();
  const float* const b = data_or_null(bias);
  dispatch_float(out.dtype(), [&]<typename T>() {
    for_each_row(out, stream, [&](int64_t i) {
      add_row(residual.row<T>(i), x.row<T>(i), out.dim(1));
      layer_norm_row(out.row<T>(i), residual.row<T>(i), w, b, out.dim(1), eps);
    });
  });
}

}  // namespace cohort::cpu
