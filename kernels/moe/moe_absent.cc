#include "kernels/core/check.h"
#include "kernels/moe/moe_backends.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

void route(MoeWorkspace&, ConstTensorView, const MoeShape&, bool, Stream&) { absent(); }
void expert_mlp(TensorView, ConstTensorView, const ExpertWeights&, MoeWorkspace&, Stream&) { absent(); }

}  // namespace cohort::cuda
