// What is told of tokens that were sampled: their log-probabilities and those of the most probable tokens, found where
// the logits are, so that no row of logits goes to the host.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/sampling/sampling.h"

namespace cohort {

inline constexpr int kMaxTopLogprobs = 20;  // of a request

// Of one row of logits. As the device writes it.
struct SampledLogprobs {
  float logprob;  // of the token, natural logarithm; NaN if the row has a NaN or its largest is not finite
  int32_t rank;   // how many tokens are more probable, or as probable and of a lower id; -1 likewise
  int32_t num_top;
  TokenLogprob top[kMaxTopLogprobs];  // NOLINT(modernize-avoid-c-arrays): [num_top], as top_logprobs() has them
};

// out [num_rows, sizeof(SampledLogprobs)] (uint8), aligned to 4 bytes, for tokens [num_rows] (int32) and logits
// [num_rows, vocab] (float32), which are those before sample() changed them; with the num_top most probable tokens, at
// most kMaxTopLogprobs. What lies in `top` behind num_top is not said. A token of -1 has no log-probability (NaN) and
// rank -1. Log-probabilities on CUDA differ from those on the CPU by what float32 sums may tell, and not between rows
// or calls. vocab is below 2^23.
void sampled_logprobs(TensorView out, ConstTensorView logits, ConstTensorView tokens, int num_top, Stream& stream);

namespace cuda {

// Arguments are checked and not empty. Throws CheckError in a build without CUDA.
void sampled_logprobs(TensorView out, ConstTensorView logits, ConstTensorView tokens, int num_top, Stream& stream);

}  // namespace cuda
}  // namespace cohort
