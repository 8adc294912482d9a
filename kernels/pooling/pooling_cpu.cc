#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "kernels/core/vector_math.h"
#include "kernels/pooling/pooling_backends.h"

namespace cohort::cpu {
namespace {

// out [n] = the mean of rows [begin, end) of x.
template <typename T>
void mean_of_rows(float* out, const ConstTensorView& x, int64_t begin, int64_t end) {
  const auto num_rows = static_cast<float>(end - begin);
  for_each_vector(x.dim(1), [&](int64_t i, auto extent) {
    Float8 sum = load8(x.row<T>(begin) + i, extent);
    for (int64_t row = begin + 1; row < end; ++row) sum = sum + load8(x.row<T>(row) + i, extent);
    store8(out + i, sum / num_rows, extent);
  });
}

void normalize(float* x, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += double{x[i]} * double{x[i]};
  const float length = std::max(static_cast<float>(std::sqrt(squares)), kMinPooledLength);
  for (int64_t i = 0; i < n; ++i) x[i] /= length;
}

}  // namespace

void pool_sequences(TensorView out, ConstTensorView x, ConstTensorView starts, Pooling pooling, bool normalizes,
                    Stream& stream) {
  const int32_t* const start = starts.data<int32_t>();
  for (int64_t i = 0; i < out.dim(0); ++i) {
    COHORT_CHECK(0 <= start[i] && start[i] < start[i + 1] && start[i + 1] <= x.dim(0), "sequence " + std::to_string(i));
  }
  dispatch_float(x.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        float* const row = out.row<float>(i);
        const int64_t begin = pooling == Pooling::kLast ? start[i + 1] - 1 : start[i];
        const int64_t end = pooling == Pooling::kMean ? start[i + 1] : begin + 1;
        mean_of_rows<T>(row, x, begin, end);
        if (normalizes) normalize(row, out.dim(1));
      }
    };
    stream.parallel_for(out.dim(0), 1, std::ref(body));
  });
}

}  // namespace cohort::cpu
