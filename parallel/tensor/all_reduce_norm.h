// A sum over the shards of a tensor group, and what follows it in a block: the addition to the residual stream and the
// next norm. One kernel where the group has a mailbox and that is the quickest way; otherwise one after the other.
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

// How the kernels pass a row's terms around. Sums have the same bits either way.
enum class AllReduceAlgorithm {
  // Each rank sends its row to all others, and each sums: one way over the links, (ranks - 1) rows out of each rank.
  kOneShot,
  // A rank sums its part of the row for all: the others' terms come to it, and it sends the sums back. Two ways over
  // the links, but only 2 * (ranks - 1) / ranks rows out of each rank.
  kTwoShot,
};

// How many blocks go over the rows, and what a thread of theirs does.
struct AllReduceNormConfig {
  AllReduceAlgorithm algorithm;
  int num_blocks;  // kOneShot: blocks_per_row for each row; kTwoShot: each goes over several rows, if there are more
  int blocks_per_row;  // a cluster: 1, 2 or 4; before sm_90 always 1, like with kTwoShot
  int num_threads;  // of a block; whole warps. kOneShot: a vector of 16 bytes each; kTwoShot: one of each rank's part
};

// Pure. `mailbox`: what it says of the group and its GPUs; its memory is not looked at. Dense rows of `row_bytes`,
// aligned to 16 bytes. Nothing where the kernel cannot.
std::optional<AllReduceNormConfig> all_reduce_norm_config(AllReduceAlgorithm algorithm, int64_t num_tokens,
                                                          int64_t row_bytes, const Mailbox& mailbox);

// The quickest way, by what was measured; nothing where that is not a kernel's, but the library's sum and a norm.
std::optional<AllReduceNormConfig> choose_all_reduce_norm_config(int64_t num_tokens, int64_t row_bytes,
                                                                 const Mailbox& mailbox);

// all_reduce_add_norm() by the way that `config` is, or, with nothing, by the library: to compare them. Requires that
// `config` is of the operands' size, which are dense and aligned to 16 bytes, and of the mailbox of delta.comm.
void all_reduce_add_norm_by(const std::optional<AllReduceNormConfig>& config, TensorView out, TensorView residual,
                            const ShardedSum& delta, const NormWeights& norm, Stream& stream);

}  // namespace cohort
