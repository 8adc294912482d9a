// The backends behind embedding.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked, what is written is not empty. Ids and sources are checked by the backend,
// which can read them.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort::cpu {

void embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream);
void embedding_part(TensorView out, ConstTensorView ids, ConstTensorView part, int64_t first_row, Stream& stream);
void add_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream);
void feed_tokens(TensorView token_ids, ConstTensorView sources, ConstTensorView sampled, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throw CheckError in a build without CUDA.
void embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream);
void embedding_part(TensorView out, ConstTensorView ids, ConstTensorView part, int64_t first_row, Stream& stream);
void add_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream);
void feed_tokens(TensorView token_ids, ConstTensorView sources, ConstTensorView sampled, Stream& stream);

}  // namespace cohort::cuda
