#include "runtime/layers/cross_attention.h"

namespace cohort {
namespace {

// The first `num_columns` of each of `num_rows` rows, dense, in the memory of `tensor`, whose rows are longer.
TensorView dense_rows(const Tensor& tensor, int64_t num_rows, int64_t num_columns) {
  return TensorView(tensor->data(), tensor->dtype(), Shape{num_rows, num_columns}, tensor->device());
}

}  // namespace

Result<CrossAttention> CrossAttention::load(const LoadContext& context, const CrossAttentionMap& map) {
  const ModelSpec& spec = context.spec;
  const ModelShard& shard = context.shard;
  const Slice heads = shard.heads.scaled(spec.head_dim);
  CrossAttention attention;
  attention.local_num_heads_ = shard.heads.size();
  attention.local_num_kv_heads_ = shard.kv_heads.size();
  attention.head_dim_ = spec.head_dim;
  attention.params_ = {.scale = spec.attention_scale, .deterministic = context.arithmetic.is_deterministic()};
  COHORT_ASSIGN_OR_RETURN(attention.q_, Linear::load(context, map.q, output_slices(map.q, heads)));
  COHORT_ASSIGN_OR_RETURN(attention.kv_, Linear::load(context, map.kv, cross_kv_slices(spec, map.kv, shard)));
  COHORT_ASSIGN_OR_RETURN(attention.out_, Linear::load(context, map.out, input_slices(map.out, heads),
                                                       num_attention_chunks(spec) / shard.num_shards));
  return attention;
}

void CrossAttention::cache_sources(ConstTensorView encoded, const BatchView& sources, KvCacheView cache,
                                   Workspace& workspace, const Probe& probe, Stream& stream) const {
  const int64_t num_tokens = sources.num_tokens();
  const int64_t width = local_num_kv_heads_ * head_dim_;
  const TensorView kv = dense_rows(workspace.qkv, num_tokens, 2 * width);
  kv_.forward(kv, encoded, stream);
  const auto heads = [&](int64_t begin) {
    return kv.slice(1, begin, begin + width).reshape(Shape{num_tokens, local_num_kv_heads_, head_dim_});
  };
  probe("cross_k", heads(0));
  probe("cross_v", heads(width));
  write_kv(cache, heads(0), heads(width), sources.slots, stream);
}

ShardedSum CrossAttention::forward(TensorView out, ConstTensorView x, const BatchView& batch, KvCacheView cache,
                                   Workspace& workspace, DeviceComm* comm, const Probe& probe, Stream& stream) const {
  const int64_t num_tokens = batch.num_tokens();
  const int64_t width = local_num_heads_ * head_dim_;
  const Shape heads{num_tokens, local_num_heads_, head_dim_};
  const TensorView q = dense_rows(workspace.qkv, num_tokens, width);
  const TensorView context = workspace.context->slice(0, 0, num_tokens);
  q_.forward(q, x, stream);
  probe("cross_q", q);
  // A single query that stands at the source's end sees all of it: attention that is causal does, and is faster.
  AttentionParams params = params_;
  params.is_causal = batch.source_attention.max_query_length <= 1;
  paged_attention(context.reshape(heads), q.reshape(heads), cache, batch.source_attention, params, workspace.attention,
                  stream);
  probe("cross_context", context);
  return out_.forward_row_parallel(out, context, comm, workspace.reduction, stream);
}

}  // namespace cohort
