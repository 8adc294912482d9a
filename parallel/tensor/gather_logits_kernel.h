// The CUDA kernel behind gather_logits(), for groups with a mailbox. Internal to this folder.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "parallel/comm/mailbox.h"

namespace cohort {

// Whether the kernel takes logits of `num_rows` and is the quickest way: short, and parts of whole vectors of 16 bytes.
bool fits_gather_kernel(int64_t num_rows, int64_t total_vocab, int num_shards);

namespace cuda {

// gather_logits() of what fits. logits is empty on all shards but shard 0. Throws CheckError in a build without CUDA.
void gather_logits(TensorView logits, ConstTensorView local, int64_t total_vocab, const Mailbox& mailbox,
                   Stream& stream);

}  // namespace cuda
}  // namespace cohort
