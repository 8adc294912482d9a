// The backends behind moe.h. Internal to this folder.
//
// Arguments are checked; there is a token, and the shape fits the workspace.
#pragma once

#include "kernels/moe/moe.h"

namespace cohort::cpu {

void route(MoeWorkspace& workspace, ConstTensorView logits, const MoeShape& shape, bool renormalizes, Stream& stream);
void expert_mlp(TensorView out, ConstTensorView x, const ExpertWeights& experts, MoeWorkspace& workspace,
                Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throw CheckError in a build without CUDA.
void route(MoeWorkspace& workspace, ConstTensorView logits, const MoeShape& shape, bool renormalizes, Stream& stream);
void expert_mlp(TensorView out, ConstTensorView x, const ExpertWeights& experts, MoeWorkspace& workspace,
                Stream& stream);

}  // namespace cohort::cuda
