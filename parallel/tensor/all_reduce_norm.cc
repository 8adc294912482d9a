#include "parallel/tensor/all_reduce_norm.h"

#include <algorithm>

#include "kernels/norm/norm.h"
#include "parallel/tensor/all_reduce_norm_kernel.h"

namespace cohort {
namespace {

constexpr int64_t kVecBytes = 16;
constexpr int64_t kWarpSize = 32;
constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMaxBlocksPerRow = 4;
constexpr int kFirstWithClusters = 90;
// Few rows are shared out among more multiprocessors, as far as there are and each has something to do.
constexpr int64_t kMaxSmallBlocks = 64;
constexpr int64_t kMinThreads = 128;
// A block waits for those of the same index elsewhere, so all must find a place at once: each multiprocessor has
// registers for kMaxThreads, and the 132 of H100 and H200 (SXM) can be had in clusters but for a few.
constexpr int64_t kMaxMultiprocessors = 128;
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

std::optional<AllReduceNormConfig> choose_all_reduce_norm_config(int64_t num_tokens, int64_t row_bytes,
                                                                 const Mailbox& mailbox) {
  if (row_bytes % kVecBytes != 0 || num_tokens * row_bytes * (mailbox.size - 1) > kMaxSentBytes) return {};
  const int64_t max_blocks_per_row = mailbox.architecture >= kFirstWithClusters ? kMaxBlocksPerRow : 1;
  const int64_t num_vectors = row_bytes / kVecBytes;
  int64_t blocks_per_row = 1;
  while (blocks_per_row < max_blocks_per_row &&
         (num_vectors > blocks_per_row * kMaxThreads ||
          (num_vectors >= 2 * blocks_per_row * kMinThreads && 2 * blocks_per_row * num_tokens <= kMaxSmallBlocks))) {
    blocks_per_row *= 2;
  }
  const int64_t threads = (num_vectors + blocks_per_row - 1) / blocks_per_row;
  const int64_t num_threads = (threads + kWarpSize - 1) / kWarpSize * kWarpSize;
  if (num_threads > kMaxThreads) return {};
  const int64_t num_multiprocessors = std::min<int64_t>(mailbox.num_multiprocessors, kMaxMultiprocessors);
  const int64_t max_blocks = std::min<int64_t>(num_multiprocessors * (kMaxThreads / num_threads), Mailbox::kNumSlots);
  if (num_tokens * blocks_per_row > max_blocks) return {};
  return AllReduceNormConfig{static_cast<int>(blocks_per_row), static_cast<int>(num_threads)};
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
    const auto config = choose_all_reduce_norm_config(x.dim(0), dtype_bytes(x.dtype(), x.dim(1)), *mailbox);
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
