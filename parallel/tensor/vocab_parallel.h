// Embedding and logits whose vocabulary is split among the shards of a tensor group. A shard holds rows
// [first, first + local_vocab) of the table; sizes may differ, so that any vocabulary can be split.
#pragma once

#include "parallel/comm/device_comm.h"
#include "parallel/layout/slice.h"
#include "parallel/tensor/row_parallel.h"

namespace cohort {

// out [num_tokens, hidden] = table at rows ids [num_tokens] (int32), on every shard. `table` is this shard's part,
// [vocab.size(), hidden], of the indices `vocab`. Rows that are not here count as -0, to which any number can be added
// without changing its bits. `comm` is null for a group of one.
void vocab_parallel_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Slice vocab, DeviceComm* comm,
                              ReductionWorkspace& workspace, Stream& stream);

// logits [num_rows, total vocab] (float32) on shard 0 = the shards' parts side by side. `local`: this shard's part,
// [num_rows, vocab.size()], dense; of a total of `total_vocab` split by padded_slice(). scratch: float32, at least as
// many elements as the largest part; only shard 0 uses it, and only it gets logits.
void gather_logits(TensorView logits, ConstTensorView local, int64_t total_vocab, DeviceComm& comm, TensorView scratch,
                   Stream& stream);

}  // namespace cohort
