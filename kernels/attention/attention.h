// Attention of ragged queries over a paged cache, causal or not, with the scores of the model families.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/kv/kv_cache.h"

namespace cohort {

// Which queries belong to which sequence, and where its keys are. Prefill chunks and decodes mix freely. On CUDA a
// sequence of queries may have context length 0, to fill a batch up: its rows of the output become zero.
//
// On CUDA these tensors, and where attention is causal cached positions before a sequence's queries, are read while the
// kernels queued before may still run. So what writes them must be followed by work that is no kernel, like a copy to
// the device, before the op is queued: a step uploads its batch first, and then has kernels.
struct AttentionBatch {
  ConstTensorView query_starts;     // [num_seqs + 1] int32: queries of sequence i are rows [starts[i], starts[i + 1])
  ConstTensorView context_lengths;  // [num_seqs] int32: cached positions, those of this step counted; not fewer than
                                    // the sequence's queries where attention is causal
  ConstTensorView block_tables;  // [num_seqs, max_blocks_per_seq] int32; entries past a sequence's length are not read
  // No query run and no context of the tensors above is longer. The host of a GPU goes by these, because it cannot read
  // the tensors in a step; the CPU reads neither. What is launched depends on max_query_length, and in the
  // deterministic mode on max_context_length: the closer they are, the better the fit. Decodes of the fast mode are
  // divided on the device, so that one recorded launch serves every context up to the limit.
  int64_t max_query_length = 0;
  int64_t max_context_length = 0;
  int64_t num_seqs() const { return context_lengths.dim(0); }
};

struct AttentionParams {
  float scale = 1;  // multiplies q . k; positive
  // On CUDA: a query's bits depend on its own sequence alone, as they always do on the CPU. It costs speed where
  // contexts are long.
  bool deterministic = false;

  // False: every query sees all of its sequence's context, of which its queries need not be a part (encoders, and
  // cross-attention, where queries may be more than the context).
  bool is_causal = true;
  // With > 0 a query at position p sees only the positions p - window + 1 to p; requires is_causal. Blocks that lie
  // before all windows of a sequence's queries cost no time; what they hold, and their entries in the block table, may
  // be anything.
  int64_t window = 0;
  // With > 0 scores become soft_cap * tanh(scores / soft_cap), before biases and the softmax (Gemma 2, section 2).
  float soft_cap = 0;
  // Biases are by a key's position minus the query's. A query's position is c - n + j as below, also where attention is
  // not causal: a sequence whose queries are not its context (cross-attention) has no use for them.
  //
  // [num_heads] float32, or empty: scores of head h += slopes[h] * (key position - query position) (Press et al. 2022,
  // "Train Short, Test Long").
  ConstTensorView alibi_slopes = {};
  // [num_heads, 2 D + 1] float32, dense, or empty: scores of head h += bias[h][clamp(key position - query position, -D,
  // D) + D] (Raffel et al. 2020, T5, section 2.1, with its buckets expanded).
  ConstTensorView position_bias = {};
};

// Bytes of a workspace that lets the CUDA backend cut sequences along their positions wherever that helps; a smaller
// or an empty one costs speed and changes no bits of the deterministic mode. What it holds before does not matter, and
// contexts make it larger only up to some ten MB. The CPU needs none.
int64_t attention_workspace_bytes(int64_t max_seqs, int64_t max_context_length, int64_t num_heads, int64_t head_dim);

// out [num_tokens, num_heads, head_dim] = softmax(scale * q k^T) v, with q like out (rows of both may be strided), and
// scores and what is seen as `params` says. Query j of a sequence with n queries and context length c is at position
// c - n + j and, where attention is causal, sees positions up to its own. Head h reads KV head
// h / (num_heads / num_kv_heads). `workspace` is memory of the stream's device for the time of the op, or empty.
//
// Online softmax (Milakov & Gimelshein 2018; Dao 2022, "FlashAttention") in float32 over runs of positions that begin
// at multiples of a constant: a query's bits depend on what it sees of its own sequence, not on the chunk or the
// batch it is in, nor on block_size. On CUDA that holds when `params.deterministic`, and as long as what is stored in
// the cache is finite: 16-bit probabilities go through tensor cores there, where zero times infinity is no zero.
void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, TensorView workspace, Stream& stream);

}  // namespace cohort
