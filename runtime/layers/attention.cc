#include "runtime/layers/attention.h"

#include <bit>
#include <cmath>

#include "kernels/norm/head_norm.h"
#include "kernels/position/rotary_cache.h"
#include "runtime/layers/norm.h"

namespace cohort {

namespace {

// Of heads `heads` of `num_heads`: powers of 2^(-8/n) where n heads are a power of two, else those of the next smaller
// one and every other one of twice that (Press et al. 2022, and the code that goes with it).
std::vector<float> alibi_slopes(int64_t num_heads, Slice heads, float scale) {
  const auto n = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(num_heads)));
  std::vector<float> slopes;
  for (int64_t h = heads.begin; h < heads.end; ++h) {
    const double exponent = h < n ? static_cast<double>(h + 1) / static_cast<double>(n)
                                  : static_cast<double>(2 * (h - n) + 1) / static_cast<double>(2 * n);
    slopes.push_back(scale * static_cast<float>(std::exp2(-8 * exponent)));
  }
  return slopes;
}

}  // namespace

Result<Attention> Attention::load(const LoadContext& context, const LayerMap& map, int64_t layer) {
  const ModelSpec& spec = context.spec;
  const ModelShard& shard = context.shard;
  Attention attention;
  attention.local_num_heads_ = shard.heads.size();
  attention.local_num_kv_heads_ = shard.kv_heads.size();
  attention.head_dim_ = spec.head_dim;
  attention.params_ = {.scale = spec.attention_scale,
                       .deterministic = context.arithmetic.is_deterministic(),
                       .is_causal = spec.is_causal,
                       .window = window_of(spec, layer),
                       .soft_cap = spec.attention_soft_cap};
  if (spec.position == PositionKind::kRotary) {
    COHORT_ASSIGN_OR_RETURN(attention.rotary_, RotaryEmbedding::create(spec.rotary));
    attention.rotary_->prepare(context.stream);
  } else if (spec.position == PositionKind::kAlibi) {
    const std::vector<float> slopes = alibi_slopes(spec.num_heads, shard.heads, spec.alibi_scale);
    attention.alibi_slopes_ = Tensor(DType::kF32, Shape{shard.heads.size()}, context.device());
    copy_bytes(attention.alibi_slopes_->data(), context.device(), slopes.data(), kCpuDevice,
               attention.alibi_slopes_->num_bytes());
    attention.params_.alibi_slopes = attention.alibi_slopes_;
  }
  attention.params_.position_bias = context.position_bias;
  COHORT_ASSIGN_OR_RETURN(attention.qkv_, Linear::load(context, map.qkv, qkv_slices(spec, map, shard)));
  if (spec.head_norm) {
    attention.norm_eps_ = spec.norm_eps;
    COHORT_ASSIGN_OR_RETURN(attention.q_norm_, load_norm_weight(context, *map.q_norm));
    COHORT_ASSIGN_OR_RETURN(attention.k_norm_, load_norm_weight(context, *map.k_norm));
  }
  const LinearSlices inputs = input_slices(map.attn_out, shard.heads.scaled(spec.head_dim));
  COHORT_ASSIGN_OR_RETURN(attention.out_,
                          Linear::load(context, map.attn_out, inputs, num_attention_chunks(spec) / shard.num_shards));
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
  if (!q_norm_->empty()) head_rms_norm(q, k, q_norm_, k_norm_, norm_eps_, stream);
  rotate_and_cache(q, k, v, cache, {batch.positions, batch.rope_lengths, batch.slots}, rotary_ ? &*rotary_ : nullptr,
                   stream);
  probe("q", q);
  probe("k", k);
  probe("v", v);

  paged_attention(heads(context, 0, k_begin, local_num_heads_), q, cache, batch.attention, params_, workspace.attention,
                  stream);
  probe("attn_context", context);
  return out_.forward_row_parallel(out, context, comm, workspace.reduction, stream);
}

}  // namespace cohort
