#include "runtime/layers/attention.h"

#include "kernels/attention/attention.h"
#include "kernels/position/rotary_cache.h"

namespace cohort {

Result<Attention> Attention::load(const ModelSpec& spec, const ModelShard& shard, const LayerMap& map,
                                  const Arithmetic& arithmetic, WeightSource& source, Stream& stream) {
  Attention attention;
  attention.local_num_heads_ = shard.heads.size();
  attention.local_num_kv_heads_ = shard.kv_heads.size();
  attention.head_dim_ = spec.head_dim;
  attention.scale_ = spec.attention_scale;
  attention.deterministic_ = arithmetic.is_deterministic();
  if (spec.position == PositionKind::kRotary) {
    COHORT_ASSIGN_OR_RETURN(attention.rotary_, RotaryEmbedding::create(spec.rotary));
    attention.rotary_->prepare(stream);
  }
  COHORT_ASSIGN_OR_RETURN(attention.qkv_,
                          Linear::load(map.qkv, qkv_slices(spec, map, shard), arithmetic, 1, source, stream));
  const LinearSlices inputs = input_slices(map.attn_out, shard.heads.scaled(spec.head_dim));
  COHORT_ASSIGN_OR_RETURN(attention.out_, Linear::load(map.attn_out, inputs, arithmetic,
                                                       num_attention_chunks(spec) / shard.num_shards, source, stream));
  return attention;
}

ShardedSum Attention::forward(TensorView out, ConstTensorView x, const BatchView& batch, KvCacheView cache,
                              Workspace& workspace, DeviceComm* comm, const Probe& probe, Stream& stream) const {
  const int64_t num_tokens = batch.num_tokens();
  const int64_t k_begin = local_num_heads_ * head_dim_;
  const int64_t v_begin = k_begin + local_num_kv_heads_ * head_dim_;
  const TensorView qkv = workspace.qkv->slice(0, 0, num_tokens);
  const TensorView context = workspace.context->slice(0, 0, num_tokens);
  qkv_.forward(qkv, x, stream);

  const auto heads = [&](TensorView t, int64_t begin, int64_t end, int64_t count) {
    return t.slice(1, begin, end).reshape(Shape{num_tokens, count, head_dim_});
  };
  const TensorView q = heads(qkv, 0, k_begin, local_num_heads_);           // [num_tokens, local_num_heads, head_dim]
  const TensorView k = heads(qkv, k_begin, v_begin, local_num_kv_heads_);  // [num_tokens, local_num_kv_heads, head_dim]
  const TensorView v = heads(qkv, v_begin, qkv.dim(1), local_num_kv_heads_);  // likewise
  rotate_and_cache(q, k, v, cache, {batch.positions, batch.rope_lengths, batch.slots}, rotary_ ? &*rotary_ : nullptr,
                   stream);
  probe("q", q);
  probe("k", k);
  probe("v", v);

  paged_attention(heads(context, 0, k_begin, local_num_heads_), q, cache, batch.attention,
                  {.scale = scale_, .deterministic = deterministic_}, workspace.attention, stream);
  probe("attn_context", context);
  return out_.forward_row_parallel(out, context, comm, workspace.reduction, stream);
}

}  // namespace cohort
