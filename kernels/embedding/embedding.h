// Looking up rows of a table.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// out [num_tokens, hidden] = table [vocab, hidden] at rows ids [num_tokens] (int32). dtypes of out and table are equal.
// Ids are validated when a request is admitted; one outside the table throws CheckError on the CPU and fails the stream
// on CUDA.
void embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream);

// out [num_tokens, hidden] (float32) = rows of a table of which `part` [n, hidden] is rows [first_row, first_row + n);
// -0 for ids that are not among them. -0 + x has the bits of x for every x, so that the parts' results can be added.
void embedding_part(TensorView out, ConstTensorView ids, ConstTensorView part, int64_t first_row, Stream& stream);

// out += table at rows ids: learned positions. Sums in float32.
void add_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream);

// token_ids[i] = sampled[sources[i]] where sources[i] >= 0, the others stay: what one step sampled becomes the next
// one's input without a way over the host. token_ids and sources are [num_tokens], sampled [n]; all int32 and dense. A
// sampled token below 0, which marks a row that could not be sampled, becomes 0, so that the step which then is in vain
// can run. A source that is not below n throws CheckError on the CPU and fails the stream on CUDA.
void feed_tokens(TensorView token_ids, ConstTensorView sources, ConstTensorView sampled, Stream& stream);

}  // namespace cohort
