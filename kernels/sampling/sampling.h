// Choosing the next token of each sequence from its logits.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

inline constexpr int64_t kMaxLogitBiases = 1024;  // of a request

struct SamplingParams {
  float temperature = 1;  // 0 is greedy: the largest logit, the lowest id of equals
  int32_t top_k = 0;      // keep the k largest; 0 keeps all
  float top_p = 1;        // keep the fewest most probable that reach p together
  float min_p = 0;        // keep those at least min_p times as probable as the most probable
  float repetition_penalty =
      1;  // divides positive and multiplies negative logits of tokens in prompt or output (Keskar 2019)
  float presence_penalty = 0;   // subtracted once from logits of tokens in the output
  float frequency_penalty = 0;  // subtracted once per occurrence in the output
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias = {};  // (token, added to its logit)

  // Whether a draw depends on which tokens came before it.
  bool reads_output() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }

  // INVALID_ARGUMENT names the field and what is allowed. `vocab` bounds the tokens of logit_bias.
  Status validate(int64_t vocab) const;
};

// One sequence to sample for. Borrows.
struct SamplingRequest {
  const SamplingParams* params = nullptr;
  std::span<const int32_t> prompt;  // token ids
  std::span<const int32_t> output;  // token ids so far; its size numbers the draw, so a replayed sequence draws alike
};

// tokens [num_seqs] (int32) = a draw for each row of logits [num_seqs, vocab] (float32), which is changed in place. In
// order: logit bias, penalties, temperature, top-k, top-p (of what top-k left), min-p, draw. The draw is Philox4x32-10
// (Salmon et al. 2011) keyed by the seed and counted by output.size(): it depends on nothing else in the batch. A row
// without a finite largest logit (or with a NaN) gives -1. Throws CheckError for a token outside the vocabulary. A
// thread of the stream keeps a workspace that the first step sizes. vocab is below 2^23. On the CPU only: for CUDA see
// sampling_plan.h.
void sample(TensorView tokens, TensorView logits, std::span<const SamplingRequest> requests, Stream& stream);

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm
};

// The `k` most probable tokens of one row of logits [vocab] (float32), most probable first, the lower id of equals
// first.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, int k);

// log softmax(logits)[token].
float token_logprob(std::span<const float> logits, int32_t token);

}  // namespace cohort
