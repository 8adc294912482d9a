// Decoder: a transformer of one stack of blocks, from token ids to hidden states and logits, or the part of it that one
// rank computes. Its tokens see what is before them, or, in an encoder, all of their sequence. Where the model has
// sources there is a second stack, which reads those first.
#pragma once

#include <span>
#include <vector>

#include "parallel/comm/rank_comms.h"
#include "runtime/layers/block_stack.h"

namespace cohort {

// Immutable after load; forward() writes only the workspace and the cache.
class Decoder {
 public:
  // Loads this rank's slices of the tensors of `map` from `source`. Errors name the file and the tensor.
  static Result<Decoder> load(const ModelSpec& spec, const ModelShard& shard, const WeightMap& map,
                              const Arithmetic& arithmetic, WeightSource& source, Stream& stream);

  // Runs this rank's part of whole sources, before the first step of their sequences: what the blocks of that step and
  // of later ones attend to goes to `caches`. What a stage gets it sends to the next, as forward() does. Requires that
  // the model has sources, and `caches` and `probe` as for forward().
  void encode(const BatchView& sources, std::span<const KvCacheView> caches, Workspace& workspace,
              const RankComms& comms, const ProbeFunction* probe, Stream& stream) const;

  // Runs this rank's part of the batch: on the first stage from token ids, on others from what the stage before sends;
  // what a stage gets it sends to the next, and the last makes logits. caches: as many as num_layer_caches() says of
  // its layers; what is not causal must have whole sequences in its batch. `probe` may be null. Returns logits
  // [num_logit_rows, num_logits] (float32), a view of workspace.logits, on the rank that samples; nothing on others, or
  // where the head has none.
  TensorView forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                     const RankComms& comms, const ProbeFunction* probe, Stream& stream) const;

  // What the last forward() on the last stage left in `workspace`, on every shard: the last hidden states [num_tokens,
  // hidden], and what the pooler made of the rows that the head reads, [num_logit_rows, hidden].
  ConstTensorView hidden_states(const BatchView& batch, const Workspace& workspace) const {
    return (spec_.final_norm ? workspace.normed : workspace.residual)->slice(0, 0, batch.num_tokens());
  }
  ConstTensorView pooler_output(const BatchView& batch, const Workspace& workspace) const {
    return workspace.pooled->slice(0, 0, spec_.has_pooler ? batch.num_logit_rows() : 0);
  }

  const ModelSpec& spec() const { return spec_; }
  const ModelShard& shard() const { return shard_; }
  DType dtype() const { return arithmetic_.dtype; }
  int64_t num_weight_bytes() const;
  // Of them, those that only encode() reads.
  int64_t num_encoder_bytes() const { return encoder_.num_bytes(); }

 private:
  Status load_embedding(const LoadContext& context, const WeightMap& map);
  Status load_encoder(const LoadContext& context, const WeightMap& map);
  Status load_head(const LoadContext& context, const WeightMap& map);
  Status load_vocab_head(const LoadContext& context, const WeightMap& map);
  bool has_last_encoder_layer() const {
    return shard_.encoder_layers.size() > 0 && shard_.encoder_layers.end == spec_.num_encoder_layers;
  }
  void embed(TensorView residual, const BatchView& batch, Workspace& workspace, const RankComms& comms,
             Stream& stream) const;
  TensorView make_logits(const BatchView& batch, ConstTensorView hidden, Workspace& workspace, const RankComms& comms,
                         Stream& stream) const;
  // What the logits are made of: pooled, transformed or projected `rows` [num_logit_rows, hidden].
  ConstTensorView head_inputs(ConstTensorView rows, Workspace& workspace, Stream& stream) const;

  ModelSpec spec_;
  ModelShard shard_;
  Arithmetic arithmetic_;
  Tensor embedding_;  // [local vocab, embedding_dim]; of stages with ModelShard::has_embedding(), like what follows
  Linear embedding_in_;
  Tensor position_embedding_;    // [max_position, hidden], or empty
  Tensor token_type_embedding_;  // [num_token_types, hidden], or empty
  Norm embedding_norm_;
  BlockStack encoder_;  // the stage's part of what reads the source
  Norm encoder_norm_;   // of the stage with the last layer of that
  BlockStack blocks_;   // the stage's
  Norm final_norm_;     // the last stage's, like what follows
  Linear embedding_out_;
  Linear pooler_;
  Linear head_transform_;
  Norm head_transform_norm_;
  Linear head_;
};

}  // namespace cohort
