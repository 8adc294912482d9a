#include "kernels/core/convert.h"

#include "kernels/core/convert_backends.h"

namespace cohort {
namespace {

// [n] as [1, n].
template <typename View>
View as_rows(const View& x) {
  return x.rank() == 2 ? x : x.reshape(Shape{1, x.dim(0)});
}

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

void check_devices(const TensorView& out, const ConstTensorView& in, const Stream& stream) {
  COHORT_CHECK(out.device() == stream.device() && in.device() == stream.device(), to_string(in.device()));
}

// out[i, j] = in[i * row_step + j * column_step]
template <typename Out, typename In>
void convert_elements(const TensorView& out, const In* in, int64_t row_step, int64_t column_step) {
  for (int64_t i = 0; i < out.dim(0); ++i) {
    Out* const row = out.row<Out>(i);
    for (int64_t j = 0; j < out.dim(1); ++j) {
      row[j] = static_cast<Out>(static_cast<float>(in[i * row_step + j * column_step]));
    }
  }
}

}  // namespace

void convert(TensorView out, ConstTensorView in, Stream& stream) {
  COHORT_CHECK(out.shape() == in.shape() && (out.rank() == 1 || out.rank() == 2),
               out.shape().to_string() + " from " + in.shape().to_string());
  check_devices(out, in, stream);
  if (out.empty()) return;
  const TensorView rows = as_rows(out);
  const ConstTensorView from = as_rows(in);
  if (is_cuda(stream)) return cuda::convert(rows, from, stream);
  dispatch_float(rows.dtype(), [&]<typename Out>() {
    dispatch_float(from.dtype(),
                   [&]<typename In>() { convert_elements<Out>(rows, from.data<In>(), from.stride(0), 1); });
  });
}

void transpose(TensorView out, ConstTensorView in, Stream& stream) {
  COHORT_CHECK(out.rank() == 2 && in.rank() == 2 && out.dim(0) == in.dim(1) && out.dim(1) == in.dim(0),
               out.shape().to_string() + " from " + in.shape().to_string());
  check_devices(out, in, stream);
  if (out.empty()) return;
  if (is_cuda(stream)) return cuda::transpose(out, in, stream);
  dispatch_float(out.dtype(), [&]<typename Out>() {
    dispatch_float(in.dtype(), [&]<typename In>() { convert_elements<Out>(out, in.data<In>(), 1, in.stride(0)); });
  });
}

}  // namespace cohort
