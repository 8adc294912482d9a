// The paged key/value cache of one layer: fixed blocks of positions, which block tables put into sequences.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// keys and values: [num_blocks, local_num_kv_heads, block_size, head_dim], dense, of one dtype. A head's positions
// within a block are contiguous, so that attention streams them.
struct KvCacheView {
  TensorView keys;
  TensorView values;

  int64_t num_blocks() const { return keys.dim(0); }
  int64_t num_kv_heads() const { return keys.dim(1); }
  int64_t block_size() const { return keys.dim(2); }
  int64_t head_dim() const { return keys.dim(3); }
};

// Stores k and v [num_tokens, num_kv_heads, head_dim] (rows may be strided) at slots [num_tokens] (int64), no two of
// which are equal but -1; a slot is block * block_size + offset, or -1 for padding, of which nothing is stored. Another
// one outside the cache throws CheckError on the CPU and fails the stream on CUDA.
void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream);

// Throws CheckError unless write_kv() can take these: for ops that do its work with theirs.
void check_write_kv(const KvCacheView& cache, const ConstTensorView& k, const ConstTensorView& v,
                    const ConstTensorView& slots, const Stream& stream);

}  // namespace cohort
