// Decoder: a decoder-only transformer, from token ids to logits, or the part of it that one rank computes.
#pragma once

#include <span>
#include <vector>

#include "parallel/comm/rank_comms.h"
#include "runtime/layers/decoder_block.h"

namespace cohort {

// Immutable after load; forward() writes only the workspace and the cache.
class Decoder {
 public:
  // Loads this rank's slices of the tensors of `map` from `source`. Errors name the file and the tensor.
  static Result<Decoder> load(const ModelSpec& spec, const ModelShard& shard, const WeightMap& map,
                              const Arithmetic& arithmetic, WeightSource& source, Stream& stream);

  // Runs this rank's part of the batch: on the first stage from token ids, on others from what the stage before sends;
  // what a stage gets it sends to the next, and the last makes logits. caches: one for each of its layers. `probe` may
  // be null. Returns logits [num_logit_rows, vocab] (float32), a view of workspace.logits, on the rank that samples,
  // nothing on others.
  TensorView forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                     const RankComms& comms, const ProbeFunction* probe, Stream& stream) const;

  const ModelSpec& spec() const { return spec_; }
  const ModelShard& shard() const { return shard_; }
  DType dtype() const { return arithmetic_.dtype; }
  int64_t num_weight_bytes() const;

 private:
  Status load_embedding(const LoadContext& context, const WeightMap& map);
  Status load_head(const LoadContext& context, const WeightMap& map);
  void embed(TensorView residual, const BatchView& batch, Workspace& workspace, const RankComms& comms,
             Stream& stream) const;
  TensorView make_logits(const BatchView& batch, ConstTensorView normed, Workspace& workspace, const RankComms& comms,
                         Stream& stream) const;

  ModelSpec spec_;
  ModelShard shard_;
  Arithmetic arithmetic_;
  Tensor embedding_;  // [local vocab, embedding_dim]; the first stage's, like what follows
  Linear embedding_in_;
  Tensor position_embedding_;  // [max_position, hidden], or empty
  Norm embedding_norm_;
  std::vector<DecoderBlock> blocks_;  // the stage's
  Norm final_norm_;                   // the last stage's, like what follows
  Linear embedding_out_;
  Linear head_;
};

}  // namespace cohort
