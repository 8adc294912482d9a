// The backends behind random.h. Internal to this folder.
//
// Arguments are checked and not empty.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/random/random_values.h"

namespace cohort::cpu {

void fill_random(TensorView out, const RandomRuns& runs, const RandomValues& values, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throws CheckError in a build without CUDA.
void fill_random(TensorView out, const RandomRuns& runs, const RandomValues& values, Stream& stream);

}  // namespace cohort::cuda
