// Scores that are more than scale * q k^T. Internal to this folder.
//
// Every operation is spelt out, so that no compiler fuses it in one kernel and not in another.
#pragma once

#include "kernels/attention/attention_args.cuh"
#include "kernels/attention/attention_mma.cuh"

namespace cohort::cuda {

// A head's slope in units of ln 2; 0 where there are none.
__device__ inline float slope_log2(const AttentionVariant& variant, int head) {
  return variant.alibi_slopes == nullptr ? 0.0f : __fmul_rn(variant.alibi_slopes[head], kLog2E);
}

// Caps and biases kCount products q k^T of one query and head, in place: score_at(i), of the key at
// position_at(i). They become scores in units of ln 2, so that exponentials are powers of two. `slope` is the head's
// slope_log2(). Requires variant.changes_scores; positions may be counted from anywhere.
template <int kCount, typename ScoreAt, typename PositionAt>
__device__ void change_scores(const AttentionVariant& variant, int head, float slope, int query_position,
                              const ScoreAt& score_at, const PositionAt& position_at) {
  if (variant.cap_log2 > 0.0f) {  // tanh(x) = 1 - 2 / (1 + e^2x)
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float e = exp2_approx(__fmul_rn(score_at(i), variant.cap_factor));
      score_at(i) = __fmaf_rn(-2.0f * variant.cap_log2, reciprocal_approx(__fadd_rn(1.0f, e)), variant.cap_log2);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) score_at(i) = __fmul_rn(score_at(i), variant.scale_log2);
  }
  if (variant.alibi_slopes != nullptr) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      score_at(i) = __fmaf_rn(slope, static_cast<float>(position_at(i) - query_position), score_at(i));
    }
  }
  if (variant.position_bias != nullptr) {
    const float* const bias = variant.bias_of(head);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      score_at(i) = __fmaf_rn(bias[variant.distance(position_at(i), query_position)], kLog2E, score_at(i));
    }
  }
}

}  // namespace cohort::cuda
