// Decoder: a decoder-only transformer, from token ids to logits.
#pragma once

#include <span>
#include <vector>

#include "runtime/layers/decoder_block.h"

namespace cohort {

// Immutable after load; forward() writes only the workspace and the cache.
class Decoder {
 public:
  // Loads every tensor of `map` from `source`. Errors name the file and the tensor.
  static Result<Decoder> load(const ModelSpec& spec, const WeightMap& map, DType dtype, WeightSource& source,
                              Stream& stream);

  // Runs the batch and returns logits [num_logit_rows, vocab] (float32), a view of workspace.logits. caches: one a
  // layer. `probe` may be null.
  TensorView forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                     const ProbeFunction* probe, Stream& stream) const;

  const ModelSpec& spec() const { return spec_; }
  DType dtype() const { return dtype_; }
  int64_t num_weight_bytes() const;

 private:
  ModelSpec spec_;
  DType dtype_ = DType::kF32;
  Tensor embedding_;           // [vocab, hidden]
  Tensor position_embedding_;  // [max_position, hidden], or empty
  std::vector<DecoderBlock> blocks_;
  Norm final_norm_;
  Linear head_;
};

}  // namespace cohort
