#include "kernels/core/check.h"
#include "kernels/sampling/sampled_logprobs.h"
#include "kernels/sampling/sampling_plan.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

void sample(TensorView, TensorView, const SamplingPlan&, Stream&) { absent(); }
void sampled_logprobs(TensorView, ConstTensorView, ConstTensorView, int, Stream&) { absent(); }

}  // namespace cohort::cuda
