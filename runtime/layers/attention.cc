#include "runtime/layers/attention.h"

#include "kernels/attention/attention.h"

namespace cohort {

Result<Attention> Attention::load(const ModelSpec& spec, const LayerMap& map, DType dtype, WeightSource& source,
                                  Stream& stream) {
  Attention attention;
  attention.num_heads_ = spec.num_heads;
  attention.num_kv_heads_ = spec.num_kv_heads;
  attention.head_dim_ = spec.head_dim;
  attention.scale_ = spec.attention_scale;
  if (spec.position == PositionKind::kRotary) {
    COHORT_ASSIGN_OR_RETURN(attention.rotary_, RotaryEmbedding::create(spec.rotary));
  }
  COHORT_ASSIGN_OR_RETURN(attention.qkv_, Linear::load(map.qkv, dtype, 1, source, stream));
  const int num_chunks = choose_num_chunks(spec.num_heads * spec.head_dim, spec.head_dim);
  COHORT_ASSIGN_OR_RETURN(attention.out_, Linear::load(map.attn_out, dtype, num_chunks, source, stream));
  return attention;
}

void Attention::forward(TensorView out, ConstTensorView x, const BatchView& batch, KvCacheView cache,
                        Workspace& workspace, const Probe& probe, Stream& stream) const {
  const int64_t num_tokens = batch.num_tokens();
  const int64_t k_begin = num_heads_ * head_dim_;
  const int64_t v_begin = k_begin + num_kv_heads_ * head_dim_;
  const TensorView qkv = workspace.qkv->slice(0, 0, num_tokens);
  const TensorView context = workspace.context->slice(0, 0, num_tokens);
  qkv_.forward(qkv, x, stream);

  const auto heads = [&](TensorView t, int64_t begin, int64_t end, int64_t count) {
    return t.slice(1, begin, end).reshape(Shape{num_tokens, count, head_dim_});
  };
  const TensorView q = heads(qkv, 0, k_begin, num_heads_);              // [num_tokens, num_heads, head_dim]
  const TensorView k = heads(qkv, k_begin, v_begin, num_kv_heads_);     // [num_tokens, num_kv_heads, head_dim]
  const TensorView v = heads(qkv, v_begin, qkv.dim(1), num_kv_heads_);  // likewise
  if (rotary_) rotary_->apply(q, k, batch.positions, batch.rope_lengths, stream);
  probe("q", q);
  probe("k", k);
  probe("v", v);

  write_kv(cache, k, v, batch.slots, stream);
  paged_attention(heads(context, 0, k_begin, num_heads_), q, cache, batch.attention, {.scale = scale_}, stream);
  probe("attn_context", context);
  out_.forward(out, context, stream);
}

}  // namespace cohort
