#include "kernels/elementwise/elementwise.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/elementwise/elementwise_backends.h"

namespace cohort {
namespace {

void check(const ConstTensorView& out, const ConstTensorView& x, const Stream& stream) {
  COHORT_CHECK(out.shape() == x.shape() && (out.rank() == 1 || out.rank() == 2),
               "out " + out.shape().to_string() + ", x " + x.shape().to_string());
  COHORT_CHECK(out.device() == stream.device() && x.device() == stream.device(), to_string(x.device()));
}

// [n] as [1, n].
template <typename View>
View as_rows(const View& x) {
  return x.rank() == 2 ? x : x.reshape(Shape{1, x.dim(0)});
}

void check_alone(const ConstTensorView& x, const Stream& stream) {
  COHORT_CHECK(x.rank() == 1 || x.rank() == 2, x.shape().to_string());
  COHORT_CHECK(x.device() == stream.device(), to_string(x.device()));
}

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

}  // namespace

void add(TensorView sums, ConstTensorView x, Stream& stream) {
  check(sums, x, stream);
  COHORT_CHECK(sums.dtype() == x.dtype(), dtype_name(x.dtype()));
  if (sums.empty()) return;
  (is_cuda(stream) ? cuda::add : cpu::add)(as_rows(sums), as_rows(x), stream);
}

void add_bias(TensorView out, ConstTensorView sums, ConstTensorView bias, Stream& stream) {
  check(out, sums, stream);
  COHORT_CHECK(sums.dtype() == DType::kF32, dtype_name(sums.dtype()));
  COHORT_CHECK(bias.empty() || (bias.dtype() == DType::kF32 && bias.num_elements() == out.dim(out.rank() - 1)),
               "bias " + bias.shape().to_string());
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::add_bias : cpu::add_bias)(as_rows(out), as_rows(sums), bias, stream);
}

void copy_rows(TensorView out, ConstTensorView x, Stream& stream) {
  check(out, x, stream);
  COHORT_CHECK(out.dtype() == x.dtype() && dtype_bits(x.dtype()) % 8 == 0, dtype_name(x.dtype()));
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::copy_rows : cpu::copy_rows)(as_rows(out), as_rows(x), stream);
}

void scale(TensorView x, float factor, Stream& stream) {
  check_alone(x, stream);
  if (x.empty()) return;
  (is_cuda(stream) ? cuda::scale : cpu::scale)(as_rows(x), factor, stream);
}

void soft_cap(TensorView x, float cap, Stream& stream) {
  check_alone(x, stream);
  COHORT_CHECK(cap > 0, std::to_string(cap));
  if (x.empty()) return;
  (is_cuda(stream) ? cuda::soft_cap : cpu::soft_cap)(as_rows(x), cap, stream);
}

}  // namespace cohort
