#include "kernels/core/convert.h"

#include <cstring>

namespace cohort {
namespace {

template <typename Out, typename In>
void convert_row(Out* out, const In* in, int64_t n) {
  if constexpr (std::is_same_v<Out, In>) {
    if (n > 0) std::memcpy(out, in, static_cast<size_t>(n) * sizeof(Out));
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = Out(static_cast<float>(in[i]));
  }
}

}  // namespace

void convert(TensorView out, ConstTensorView in) {
  COHORT_CHECK(out.shape() == in.shape() && out.rank() >= 1 && out.rank() <= 2,
               out.shape().to_string() + " from " + in.shape().to_string());
  const int64_t num_rows = out.rank() == 2 ? out.dim(0) : 1;
  const int64_t n = out.dim(out.rank() - 1);
  dispatch_float(out.dtype(), [&]<typename Out>() {
    dispatch_float(in.dtype(), [&]<typename In>() {
      for (int64_t i = 0; i < num_rows; ++i) convert_row(out.row<Out>(i), in.row<In>(i), n);
    });
  });
}

}  // namespace cohort
