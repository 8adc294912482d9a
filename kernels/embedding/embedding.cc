#include "kernels/embedding/embedding.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/embedding/embedding_backends.h"

namespace cohort {
namespace {

void check(const TensorView& out, const ConstTensorView& ids, const ConstTensorView& table, const Stream& stream) {
  COHORT_CHECK(
      out.rank() == 2 && ids.rank() == 1 && table.rank() == 2 && out.dim(0) == ids.dim(0) && out.dim(1) == table.dim(1),
      "out " + out.shape().to_string() + ", ids " + ids.shape().to_string() + ", table " + table.shape().to_string());
  COHORT_CHECK(
      out.device() == stream.device() && ids.device() == stream.device() && table.device() == stream.device(),
      "out " + to_string(out.device()) + ", ids " + to_string(ids.device()) + ", table " + to_string(table.device()));
}

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

}  // namespace

void embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream) {
  check(out, ids, table, stream);
  COHORT_CHECK(out.dtype() == table.dtype(), dtype_name(out.dtype()));
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::embedding : cpu::embedding)(out, ids, table, stream);
}

void embedding_part(TensorView out, ConstTensorView ids, ConstTensorView part, int64_t first_row, Stream& stream) {
  check(out, ids, part, stream);
  COHORT_CHECK(out.dtype() == DType::kF32, dtype_name(out.dtype()));
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::embedding_part : cpu::embedding_part)(out, ids, part, first_row, stream);
}

void add_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream) {
  check(out, ids, table, stream);
  COHORT_CHECK(out.dtype() == table.dtype(), dtype_name(out.dtype()));
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::add_embedding : cpu::add_embedding)(out, ids, table, stream);
}

void feed_tokens(TensorView token_ids, ConstTensorView sources, ConstTensorView sampled, Stream& stream) {
  COHORT_CHECK(token_ids.rank() == 1 && sources.shape() == token_ids.shape() && sampled.rank() == 1,
               "token_ids " + token_ids.shape().to_string() + ", sources " + sources.shape().to_string() +
                   ", sampled " + sampled.shape().to_string());
  for (const ConstTensorView& x : {ConstTensorView(token_ids), sources, sampled}) {
    COHORT_CHECK(x.dtype() == DType::kI32 && x.is_dense(), dtype_name(x.dtype()));
    COHORT_CHECK(x.device() == stream.device(), to_string(x.device()));
  }
  if (token_ids.empty()) return;
  (is_cuda(stream) ? cuda::feed_tokens : cpu::feed_tokens)(token_ids, sources, sampled, stream);
}

}  // namespace cohort
