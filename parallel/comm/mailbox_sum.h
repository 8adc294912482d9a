// The sum of short messages over a group with a mailbox, by one kernel.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "parallel/comm/mailbox.h"

namespace cohort {

// Whether mailbox_sum() takes it and is the quickest way: what a rank sends to all others together is short.
bool fits_mailbox(ConstTensorView x, int num_ranks);

// x = the sum of every rank's, in float32 and the order of ranks, rounded once: the same bits on all. f32, f16 or bf16,
// dense. Requires fits_mailbox(). CUDA only; queued.
void mailbox_sum(TensorView x, const Mailbox& mailbox, Stream& stream);

}  // namespace cohort
