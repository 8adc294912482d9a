// Causal attention of ragged queries over a paged cache.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/kv/kv_cache.h"

namespace cohort {

// Which queries belong to which sequence, and where its keys are. Prefill chunks and decodes mix freely.
struct AttentionBatch {
  ConstTensorView query_starts;     // [num_seqs + 1] int32: queries of sequence i are rows [starts[i], starts[i + 1])
  ConstTensorView context_lengths;  // [num_seqs] int32: cached positions, those of this step counted
  ConstTensorView block_tables;  // [num_seqs, max_blocks_per_seq] int32; entries past a sequence's length are not read
  int64_t num_seqs() const { return context_lengths.dim(0); }
};

struct AttentionParams {
  float scale = 1;  // multiplies q . k
};

// out [num_tokens, num_heads, head_dim] = softmax(scale * q k^T, causal) v, with q like out (rows of both may be
// strided). Query j of a sequence with n queries and context length c is at position c - n + j and sees positions up to
// its own. Head h reads KV head h / (num_heads / num_kv_heads).
//
// Online softmax (Milakov & Gimelshein 2018; Dao 2022, "FlashAttention") in float32 over runs of positions that begin
// at multiples of a constant: a query's bits depend on its own sequence up to its own position, not on the chunk or the
// batch it is in, nor on block_size.
void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, Stream& stream);

}  // namespace cohort
