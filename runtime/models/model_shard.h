// ModelShard: which part of a model one rank holds and computes.
//
// Tensor parallelism (Shoeybi et al. 2019, "Megatron-LM") splits attention by heads, the MLP by its inner dimension,
// experts by their number and the embedding and the logits by vocabulary; norms, routers and learned positions are
// whole on every shard. Pipeline parallelism splits the layers.
#pragma once

#include <cstdint>

#include "kernels/core/status.h"
#include "parallel/layout/parallel_layout.h"
#include "parallel/layout/slice.h"
#include "runtime/models/model_spec.h"

namespace cohort {

struct ModelShard {
  Slice layers;                   // of the stage; none where it has only layers that read the source
  Slice encoder_layers = {0, 0};  // of those; the stages before the decoder's, and perhaps its first, have them
  Slice heads;                    // query heads
  Slice kv_heads;                 // those that the query heads read; shards share one where there are fewer than shards
  Slice ffn;                      // all of it where there are experts
  Slice experts;                  // whole ones; none where there is one MLP
  Slice vocab;                    // of the embedding and of the logits; the last shards' may be smaller

  bool is_first_stage = true;
  bool is_last_stage = true;  // has the final norm and the logits
  int shard = 0;
  int num_shards = 1;

  // Whether the sequences' tokens come in here. Sources come in at the first stage.
  bool has_first_layer() const { return layers.begin == 0 && layers.end > 0; }
  bool has_embedding() const { return is_first_stage || has_first_layer(); }
};

// Chunks of the canonical reduction tree (kernels/gemm/gemm.h) over the inputs of the two row-parallel products.
int num_attention_chunks(const ModelSpec& spec);
int num_mlp_chunks(const ModelSpec& spec);

// The part of the rank at `layout`. INVALID_ARGUMENT names the size that cannot be, why, and which sizes could.
Result<ModelShard> shard_model(const ModelSpec& spec, const ParallelLayout& layout);

// The whole model on one rank.
ModelShard whole_model(const ModelSpec& spec);

}  // namespace cohort
