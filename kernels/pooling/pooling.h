// Pooling: the hidden states of a sequence become one vector, its embedding.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// Reimers & Gurevych 2019, "Sentence-BERT", section 3.
enum class Pooling {
  kMean,
  kFirst,  // of the first token, [CLS]
  kLast,
};

// out [num_seqs, hidden] (float32, dense) = the pooled rows [starts[i], starts[i + 1]) of x [num_tokens, hidden] for
// each sequence i; `normalizes` makes their length 1, but for lengths below 1e-12, by which they are divided as if they
// had it. starts [num_seqs + 1] is int32; a sequence has at least one row, and none beyond num_tokens: on the CPU
// CheckError tells, on CUDA the stream fails.
//
// Sums in float32, row by row: a sequence's bits do not depend on the others.
void pool_sequences(TensorView out, ConstTensorView x, ConstTensorView starts, Pooling pooling, bool normalizes,
                    Stream& stream);

}  // namespace cohort
