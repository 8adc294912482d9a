// The backends behind attention.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked, and there is at least one query; what the batch's tensors hold is not.
#pragma once

#include "kernels/attention/attention.h"

namespace cohort::cpu {

void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throws CheckError in a build without CUDA.
void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, TensorView workspace, Stream& stream);

}  // namespace cohort::cuda
