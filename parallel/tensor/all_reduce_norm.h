// A sum over the shards of a tensor group, and what follows it in a block: the addition to the residual stream and the
// next norm. One kernel where the message is short and the group has a mailbox; otherwise one after the other.
#pragma once

#include <optional>

#include "parallel/tensor/row_parallel.h"

namespace cohort {

struct NormWeights {
  bool is_layer_norm = false;   // LayerNorm, otherwise RMSNorm
  ConstTensorView weight = {};  // [hidden] float32
  ConstTensorView bias = {};    // [hidden] float32, or empty
  float eps = 0;
};

// residual += the sum of delta (rounded to its dtype, before and after); out = norm(residual), as kernels/norm/norm.h
// has it. All [num_tokens, hidden] of one dtype. Every shard has the same bits in the end. What is in delta.value
// afterwards is not said.
void all_reduce_add_norm(TensorView out, TensorView residual, const ShardedSum& delta, const NormWeights& norm,
                         Stream& stream);

// How the kernel goes over a row: a vector of 16 bytes a thread, a slot of the mailbox a block.
struct AllReduceNormConfig {
  int blocks_per_row;  // a cluster: 1, 2 or 4; before sm_90 always 1
  int num_threads;     // of a block; whole warps
};

// For dense rows of `row_bytes`, aligned to 16 bytes. Nothing where the kernel cannot or would be the slower way.
std::optional<AllReduceNormConfig> choose_all_reduce_norm_config(int64_t num_tokens, int64_t row_bytes,
                                                                 const Mailbox& mailbox);

}  // namespace cohort
