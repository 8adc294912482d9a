#include "parallel/tensor/all_reduce_norm.h"

#include "kernels/norm/norm.h"
#include "parallel/tensor/all_reduce_norm_kernel.h"

namespace cohort {
namespace {

constexpr int64_t kVecBytes = 16;
constexpr int64_t kWarpSize = 32;
constexpr int64_t kMaxThreads = 1024;
// Of a rank to all others. Beyond that NCCL moves the bytes quicker, by more than a norm of its own costs.
constexpr int64_t kMaxSentBytes = int64_t{4} << 20;

void add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm, Stream& stream) {
  if (norm.is_layer_norm) return add_layer_norm(out, residual, x, norm.weight, norm.bias, norm.eps, stream);
  add_rms_norm(out, residual, x, norm.weight, norm.eps, stream);
}

bool has_vectors(ConstTensorView x) {
  return x.is_dense() && reinterpret_cast<uintptr_t>(x.data()) % static_cast<uintptr_t>(kVecBytes) == 0;
}

}  // namespace

std::optional<AllReduceNormConfig> choose_all_reduce_norm_config(int64_t num_tokens, int64_t row_bytes, int num_ranks) {
  if (num_tokens > Mailbox::kNumSlots || row_bytes > Mailbox::kSlotBytes || row_bytes % kVecBytes != 0) return {};
  if (num_tokens * row_bytes * (num_ranks - 1) > kMaxSentBytes) return {};
  const int64_t num_vectors = row_bytes / kVecBytes;
  const int64_t vectors_per_thread = (num_vectors + kMaxThreads - 1) / kMaxThreads;
  const int64_t num_threads = (num_vectors + vectors_per_thread - 1) / vectors_per_thread;
  const int64_t num_warps = (num_threads + kWarpSize - 1) / kWarpSize;
  return AllReduceNormConfig{static_cast<int>(num_warps * kWarpSize), static_cast<int>(vectors_per_thread)};
}

void all_reduce_add_norm(TensorView out, TensorView residual, const ShardedSum& delta, const NormWeights& norm,
                         Stream& stream) {
  const TensorView& x = delta.value;
  COHORT_CHECK(out.shape() == x.shape() && residual.shape() == x.shape(), x.shape().to_string());
  COHORT_CHECK(out.dtype() == x.dtype() && residual.dtype() == x.dtype(), dtype_name(x.dtype()));
  COHORT_CHECK(norm.weight.dtype() == DType::kF32 && norm.weight.num_elements() == x.dim(1),
               norm.weight.shape().to_string());
  if (x.empty()) return;
  const Mailbox* const mailbox = delta.comm != nullptr ? delta.comm->mailbox() : nullptr;
  if (mailbox != nullptr && has_vectors(out) && has_vectors(residual) && has_vectors(x)) {
    const auto config = choose_all_reduce_norm_config(x.dim(0), dtype_bytes(x.dtype(), x.dim(1)), mailbox->size);
    if (config) {
      const FlightRecord record(delta.comm->recorder(), "all_reduce_norm", delta.comm->name().c_str(), x.num_bytes(),
                                -1);
      return cuda::all_reduce_add_norm(out, residual, x, norm, *config, *mailbox, stream);
    }
  }
  ShardedSum sum = delta;
  sum.complete(stream);
  add_norm(out, residual, sum.value, norm, stream);
}

}  // namespace cohort
