#include "kernels/attention/attention.h"

#include <string>

#include "kernels/attention/attention_backends.h"
#include "kernels/core/check.h"

namespace cohort {
namespace {

void check_heads(const TensorView& out, const ConstTensorView& q, const KvCacheView& cache) {
  COHORT_CHECK(out.rank() == 3 && out.shape() == q.shape(),
               "out " + out.shape().to_string() + ", q " + q.shape().to_string());
  COHORT_CHECK(cache.keys.rank() == 4 && cache.keys.shape() == cache.values.shape() && cache.keys.is_dense() &&
                   cache.values.is_dense() && cache.head_dim() == q.dim(2) && cache.block_size() > 0,
               "keys " + cache.keys.shape().to_string() + ", values " + cache.values.shape().to_string() + ", q " +
                   q.shape().to_string());
  COHORT_CHECK(cache.num_kv_heads() > 0 && q.dim(1) % cache.num_kv_heads() == 0,
               std::to_string(q.dim(1)) + " heads, " + std::to_string(cache.num_kv_heads()) + " KV heads");
  COHORT_CHECK(out.dtype() == q.dtype() && cache.keys.dtype() == q.dtype() && cache.values.dtype() == q.dtype(),
               dtype_name(q.dtype()));
}

void check_batch(const AttentionBatch& batch) {
  const int64_t num_seqs = batch.num_seqs();
  COHORT_CHECK(batch.context_lengths.rank() == 1 && batch.query_starts.rank() == 1 &&
                   batch.query_starts.dim(0) == num_seqs + 1 && batch.block_tables.rank() == 2 &&
                   batch.block_tables.dim(0) == num_seqs,
               "query_starts " + batch.query_starts.shape().to_string() + ", context_lengths " +
                   batch.context_lengths.shape().to_string() + ", block_tables " +
                   batch.block_tables.shape().to_string());
  for (const ConstTensorView* t : {&batch.query_starts, &batch.context_lengths, &batch.block_tables}) {
    COHORT_CHECK(t->empty() || t->dtype() == DType::kI32, dtype_name(t->dtype()));
  }
}

void check_devices(const TensorView& out, const ConstTensorView& q, const KvCacheView& cache,
                   const AttentionBatch& batch, const Device device) {
  for (const ConstTensorView* t :
       {static_cast<const ConstTensorView*>(&out), &q, static_cast<const ConstTensorView*>(&cache.keys),
        static_cast<const ConstTensorView*>(&cache.values), &batch.query_starts, &batch.context_lengths,
        &batch.block_tables}) {
    COHORT_CHECK(t->device() == device, to_string(t->device()) + ", the stream is of " + to_string(device));
  }
}

void check_params(const AttentionParams& params, int64_t num_heads, const Device device) {
  COHORT_CHECK(params.scale > 0, std::to_string(params.scale));
  COHORT_CHECK(params.window >= 0 && (params.window == 0 || params.is_causal), std::to_string(params.window));
  COHORT_CHECK(params.soft_cap >= 0, std::to_string(params.soft_cap));
  const ConstTensorView& slopes = params.alibi_slopes;
  COHORT_CHECK(slopes.empty() || slopes.shape() == Shape{num_heads}, slopes.shape().to_string());
  const ConstTensorView& bias = params.position_bias;
  COHORT_CHECK(
      bias.empty() || (bias.rank() == 2 && bias.dim(0) == num_heads && bias.dim(1) % 2 == 1 && bias.is_dense()),
      bias.shape().to_string());
  for (const ConstTensorView* t : {&slopes, &bias}) {
    COHORT_CHECK(t->empty() || (t->dtype() == DType::kF32 && t->device() == device),
                 std::string(dtype_name(t->dtype())) + " on " + to_string(t->device()));
  }
}

}  // namespace

void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, TensorView workspace, Stream& stream) {
  check_heads(out, q, cache);
  check_batch(batch);
  check_devices(out, q, cache, batch, stream.device());
  check_params(params, q.dim(1), stream.device());
  if (out.empty()) return;
  if (stream.device().kind == DeviceKind::kCuda) {
    cuda::paged_attention(out, q, cache, batch, params, workspace, stream);
  } else {
    cpu::paged_attention(out, q, cache, batch, params, stream);
  }
}

}  // namespace cohort
