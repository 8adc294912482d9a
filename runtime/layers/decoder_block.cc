#include "runtime/layers/decoder_block.h"

namespace cohort {

Result<DecoderBlock> DecoderBlock::load(const ModelSpec& spec, const ModelShard& shard, const LayerMap& map,
                                        const Arithmetic& arithmetic, WeightSource& source, Stream& stream) {
  DecoderBlock block;
  COHORT_ASSIGN_OR_RETURN(block.attn_norm_,
                          Norm::load(map.attn_norm, spec.norm, spec.norm_eps, source, stream.device()));
  COHORT_ASSIGN_OR_RETURN(block.attention_, Attention::load(spec, shard, map, arithmetic, source, stream));
  COHORT_ASSIGN_OR_RETURN(block.mlp_norm_, Norm::load(map.mlp_norm, spec.norm, spec.norm_eps, source, stream.device()));
  COHORT_ASSIGN_OR_RETURN(block.mlp_, Mlp::load(spec, shard, map, arithmetic, source, stream));
  return block;
}

ShardedSum DecoderBlock::forward(const BatchView& batch, KvCacheView cache, Workspace& workspace, DeviceComm* comm,
                                 const Probe& probe, Stream& stream) const {
  const int64_t num_tokens = batch.num_tokens();
  const TensorView residual = workspace.residual->slice(0, 0, num_tokens);
  const TensorView delta = workspace.delta->slice(0, 0, num_tokens);
  const TensorView normed = workspace.normed->slice(0, 0, num_tokens);

  ShardedSum attn_out = attention_.forward(delta, normed, batch, cache, workspace, comm, probe, stream);
  probe("attn_out", attn_out, stream);
  mlp_norm_.forward_add(normed, residual, attn_out, stream);
  probe("mlp_norm", normed);
  ShardedSum mlp_out = mlp_.forward(delta, normed, workspace, comm, stream);
  probe("mlp_out", mlp_out, stream);
  return mlp_out;
}

}  // namespace cohort
