// The CUDA kernels behind all_reduce_norm.h. Internal to this folder.
#pragma once

#include "parallel/comm/mailbox.h"
#include "parallel/tensor/all_reduce_norm.h"

namespace cohort::cuda {

// out, residual, x: dense, aligned to 16 bytes. `config` is one of their size. Throws CheckError in a build without
// CUDA.
void all_reduce_add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm,
                         const AllReduceNormConfig& config, const Mailbox& mailbox, Stream& stream);

// The same for configs of AllReduceAlgorithm::kTwoShot.
void two_shot_add_norm(TensorView out, TensorView residual, ConstTensorView x, const NormWeights& norm,
                       const AllReduceNormConfig& config, const Mailbox& mailbox, Stream& stream);

}  // namespace cohort::cuda
