// Workspace: the activations of a step on one rank, made once for the largest step, so that nothing is allocated in
// one.
#pragma once

#include <cstdint>

#include "kernels/core/tensor.h"
#include "kernels/moe/moe.h"
#include "parallel/tensor/row_parallel.h"
#include "runtime/models/model_shard.h"

namespace cohort {

// Of the experts that a shard has.
MoeShape moe_shape(const ModelSpec& spec, const ModelShard& shard);

struct Workspace {
  Workspace(const ModelSpec& spec, const ModelShard& shard, DType dtype, int64_t max_tokens, int64_t max_logit_rows,
            Device device);

  // What a workspace takes of the memory of `device`.
  static int64_t num_bytes_for(const ModelSpec& spec, const ModelShard& shard, DType dtype, int64_t max_tokens,
                               int64_t max_logit_rows, Device device);

  Tensor residual;               // [max_tokens, hidden]: the residual stream
  Tensor delta;                  // [max_tokens, hidden]: what the last sublayer adds to it, or this shard's term
  Tensor normed;                 // [max_tokens, hidden]
  Tensor mlp_delta;              // [max_tokens, hidden]: the MLP's part of delta; of parallel blocks only
  Tensor embedding;              // [max_tokens, embedding_dim], unless that is hidden; of stages with an embedding
  Tensor qkv;                    // [max_tokens, (local_num_heads + 2 local_num_kv_heads) * head_dim]
  Tensor context;                // [max_tokens, local_num_heads * head_dim]: what attention gathered
  Tensor up;                     // [max_tokens, local ffn, or twice that]
  Tensor activated;              // [max_tokens, local ffn]
  Tensor router_logits;          // [max_tokens, num_experts] float32; with experts only, like `moe`
  MoeWorkspace moe;              // in place of `up` and `activated`
  Tensor logit_inputs;           // [max_logit_rows, hidden]; the last stage's, like what follows
  Tensor logit_embedding;        // [max_logit_rows, embedding_dim], unless that is hidden
  Tensor pooled;                 // [max_logit_rows, hidden]: of the pooler, if there is one
  Tensor transformed;            // [max_logit_rows, hidden]: of the head's transform, if there is one
  Tensor local_logits;           // [max_logit_rows, local vocab] float32; empty for one shard
  Tensor logits;                 // [max_logit_rows, num_logits] float32; shard 0's
  Tensor logit_parts;            // [max_logit_rows * local vocab] float32: another shard's on their way; shard 0's
  ReductionWorkspace reduction;  // of [max_tokens, hidden]
  Tensor attention;              // [num_bytes] uint8: partial softmax states; empty on the CPU
};

}  // namespace cohort
