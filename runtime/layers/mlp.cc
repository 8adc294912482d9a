#include "runtime/layers/mlp.h"

namespace cohort {

Result<Mlp> Mlp::load(const LoadContext& context, const LayerMap& map) {
  const ModelSpec& spec = context.spec;
  const ModelShard& shard = context.shard;
  Mlp mlp;
  mlp.activation_ = spec.activation;
  mlp.is_gated_ = spec.gated_mlp;
  COHORT_ASSIGN_OR_RETURN(mlp.up_, Linear::load(context, map.up, up_slices(spec, map, shard)));
  COHORT_ASSIGN_OR_RETURN(mlp.down_, Linear::load(context, map.down, input_slices(map.down, shard.ffn),
                                                  num_mlp_chunks(spec) / shard.num_shards));
  return mlp;
}

ShardedSum Mlp::forward(TensorView out, ConstTensorView x, Workspace& workspace, DeviceComm* comm,
                        Stream& stream) const {
  const int64_t num_tokens = x.dim(0);
  const TensorView up = workspace.up->slice(0, 0, num_tokens);                // [num_tokens, local ffn, or twice that]
  const TensorView activated = workspace.activated->slice(0, 0, num_tokens);  // [num_tokens, local ffn]
  if (is_gated_) {
    up_.forward_gated(activated, up, x, activation_, stream);
  } else {
    up_.forward(up, x, stream);
    activate(activated, up, activation_, stream);
  }
  return down_.forward_row_parallel(out, activated, comm, workspace.reduction, stream);
}

}  // namespace cohort
