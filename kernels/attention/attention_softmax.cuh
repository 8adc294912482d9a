// Softmax states and how they merge. Internal to this folder.
//
// A state is of one query and head over some positions: the largest score, the sum of 2^((score - largest) scale), and
// the sum of values so weighted. Every product and sum that the deterministic mode repeats elsewhere is spelt out here
// once, so that no compiler fuses it in one place and not in another.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/attention/attention_mma.cuh"

namespace cohort::cuda {

// What scores are measured from: the largest, or 0 where there is none yet, because infinities have no difference.
__device__ inline float score_offset(float max) { return max == -INFINITY ? 0.0f : max; }

// What two states are multiplied by when they become one.
struct MergeWeights {
  float max;
  float first;
  float second;
};

__device__ inline MergeWeights merge_weights(float first_max, float second_max, float scale_log2) {
  const float max = fmaxf(first_max, second_max);
  const float offset = score_offset(max);
  return {max, exp2_approx(__fmul_rn(__fsub_rn(first_max, offset), scale_log2)),
          exp2_approx(__fmul_rn(__fsub_rn(second_max, offset), scale_log2))};
}

__device__ inline float merge(float first, float second, const MergeWeights& weights) {
  return __fmaf_rn(second, weights.second, __fmul_rn(first, weights.first));
}

// A state's values times this are the output: zero where there is nothing to attend to.
__device__ inline float inverse_of_sum(float sum) { return sum == 0.0f ? 0.0f : __fdiv_rn(1.0f, sum); }

__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ inline float quad_sum(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(~0u, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(~0u, x, 2));
}

// The states of a warp's rows, kMTiles tensor core tiles of 16. Half h of a tile is a thread's row l / 4 + 8 h.
template <int kMTiles, int kDim>
struct SoftmaxStates {
  float values[kMTiles][kDim / 8][4];
  float max[kMTiles][2];
  float sum[kMTiles][2];  // of this thread's columns; its quad's threads have the others

  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        max[m][h] = -INFINITY;
        sum[m][h] = 0.0f;
      }
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) values[m][n][e] = 0.0f;
      }
    }
  }

  // Makes probabilities (not yet divided by their sum) of scores of further positions and rescales what was summed
  // before to their new largest score. Scores of -infinity are of positions that a row does not see.
  template <int kColumnTiles>
  __device__ void add_scores(float (&scores)[kMTiles][kColumnTiles][4], float scale_log2) {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float tile_max = -INFINITY;
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          tile_max = fmaxf(tile_max, fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
        }
        const float new_max = fmaxf(max[m][h], quad_max(tile_max));
        const float offset = score_offset(new_max);
        const float correction = exp2_approx(__fmul_rn(__fsub_rn(max[m][h], offset), scale_log2));
        const float scaled_offset = __fmul_rn(offset, scale_log2);
        float tile_sum = 0.0f;
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) {
            const float p = exp2_approx(__fmaf_rn(scores[m][n][e], scale_log2, -scaled_offset));
            scores[m][n][e] = p;
            tile_sum = __fadd_rn(tile_sum, p);
          }
        }
        max[m][h] = new_max;
        sum[m][h] = __fmaf_rn(sum[m][h], correction, tile_sum);
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          values[m][n][2 * h] = __fmul_rn(values[m][n][2 * h], correction);
          values[m][n][2 * h + 1] = __fmul_rn(values[m][n][2 * h + 1], correction);
        }
      }
    }
  }

  // Before states leave their threads: every thread of a quad gets the whole sums.
  __device__ void reduce_sums() {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) sum[m][h] = quad_sum(sum[m][h]);
    }
  }

  // Merges the total behind this thread's `totals`, float4s `stride` apart, with these states, into both. The first
  // time there is no total yet.
  __device__ void fold_into(float4* totals, int stride, bool is_first, float scale_log2) {
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
      float4* const part = totals + m * (kDim / 8 + 1) * stride;
      float4 head = is_first ? make_float4(-INFINITY, -INFINITY, 0.0f, 0.0f) : part[0];
      const MergeWeights weights[2] = {merge_weights(head.x, max[m][0], scale_log2),
                                       merge_weights(head.y, max[m][1], scale_log2)};
      sum[m][0] = merge(head.z, sum[m][0], weights[0]);
      sum[m][1] = merge(head.w, sum[m][1], weights[1]);
      max[m][0] = weights[0].max;
      max[m][1] = weights[1].max;
      part[0] = make_float4(max[m][0], max[m][1], sum[m][0], sum[m][1]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        float4& total = part[(n + 1) * stride];
        const float4 old = is_first ? make_float4(0.0f, 0.0f, 0.0f, 0.0f) : total;
        values[m][n][0] = merge(old.x, values[m][n][0], weights[0]);
        values[m][n][1] = merge(old.y, values[m][n][1], weights[0]);
        values[m][n][2] = merge(old.z, values[m][n][2], weights[1]);
        values[m][n][3] = merge(old.w, values[m][n][3], weights[1]);
        total = make_float4(values[m][n][0], values[m][n][1], values[m][n][2], values[m][n][3]);
      }
    }
  }
};

}  // namespace cohort::cuda
