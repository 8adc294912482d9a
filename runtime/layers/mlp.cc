#include "runtime/layers/mlp.h"

namespace cohort {

Result<Mlp> Mlp::load(const ModelSpec& spec, const LayerMap& map, DType dtype, WeightSource& source, Stream& stream) {
  Mlp mlp;
  mlp.activation_ = spec.activation;
  mlp.is_gated_ = spec.gated_mlp;
  COHORT_ASSIGN_OR_RETURN(mlp.up_, Linear::load(map.up, dtype, 1, source, stream));
  const int num_chunks = choose_num_chunks(spec.ffn, 1);
  COHORT_ASSIGN_OR_RETURN(mlp.down_, Linear::load(map.down, dtype, num_chunks, source, stream));
  return mlp;
}

void Mlp::forward(TensorView out, ConstTensorView x, Workspace& workspace, Stream& stream) const {
  const int64_t num_tokens = x.dim(0);
  const TensorView up = workspace.up->slice(0, 0, num_tokens);                // [num_tokens, ffn or 2 ffn]
  const TensorView activated = workspace.activated->slice(0, 0, num_tokens);  // [num_tokens, ffn]
  up_.forward(up, x, stream);
  if (is_gated_) {
    activate_gated(activated, up, activation_, stream);
  } else {
    activate(activated, up, activation_, stream);
  }
  down_.forward(out, activated, stream);
}

}  // namespace cohort
