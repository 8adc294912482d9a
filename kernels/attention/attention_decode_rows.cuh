// Softmax states of rows, each in the registers of a warp: how the decode kernel puts together what its warps came to,
// and its second kernel what blocks came to. Internal to this folder.
#pragma once

#include <cmath>

#include "kernels/attention/attention_decode.cuh"
#include "kernels/attention/attention_softmax.cuh"

namespace cohort::cuda::decode {

// A row's state. Lane l has the dimensions 4 l + 128 i.
template <int kDim>
struct RowState {
  static constexpr int kPieces = (kDim + 127) / 128;
  float max = -INFINITY;
  float sum = 0.0f;
  float4 values[kPieces] = {};

  __device__ static int dim(int piece) { return 4 * lane_index() + 128 * piece; }

  __device__ void load(const float* max_and_sum, const float* row, int head_dim) {
    const float2 head = *reinterpret_cast<const float2*>(max_and_sum);
    max = head.x;
    sum = head.y;
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      if (dim(j) < head_dim) values[j] = *reinterpret_cast<const float4*>(row + dim(j));
    }
  }

  __device__ void store(float* max_and_sum, float* row, int head_dim) const {
    if (lane_index() == 0) *reinterpret_cast<float2*>(max_and_sum) = make_float2(max, sum);
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      if (dim(j) < head_dim) *reinterpret_cast<float4*>(row + dim(j)) = values[j];
    }
  }

  template <int kCount>
  __device__ void add(const RowState (&others)[kCount], float scale_log2) {
    float new_max = max;
#pragma unroll
    for (int i = 0; i < kCount; ++i) new_max = fmaxf(new_max, others[i].max);
    const float offset = score_offset(new_max);
    scale_by(exp2_approx((max - offset) * scale_log2));
    max = new_max;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float weight = exp2_approx((others[i].max - offset) * scale_log2);
      sum += others[i].sum * weight;
#pragma unroll
      for (int j = 0; j < kPieces; ++j) {
        values[j].x += others[i].values[j].x * weight;
        values[j].y += others[i].values[j].y * weight;
        values[j].z += others[i].values[j].z * weight;
        values[j].w += others[i].values[j].w * weight;
      }
    }
  }

  // Its output, where `row` of the item of a KV head has it.
  template <typename T>
  __device__ void store_output(const AttentionArgs& args, int first_query, int kv_head, int row) const {
    const int64_t query = first_query + row / args.group_size;
    const int64_t head = kv_head * args.group_size + row % args.group_size;
    T* const out = static_cast<T*>(args.out) + query * args.out_stride + head * args.out_head_stride;
    const float inverse = inverse_of_sum(sum);
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      if (dim(j) >= args.head_dim) break;
      *reinterpret_cast<uint2*>(out + dim(j)) = {pack_pair<T>(values[j].x * inverse, values[j].y * inverse),
                                                 pack_pair<T>(values[j].z * inverse, values[j].w * inverse)};
    }
  }

 private:
  __device__ void scale_by(float factor) {
    sum *= factor;
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      values[j].x *= factor;
      values[j].y *= factor;
      values[j].z *= factor;
      values[j].w *= factor;
    }
  }
};

// A warp of the decode kernel that stores some rows of each item: the states that the warps came to, put together. So
// those that attend go on with the next item meanwhile.
template <typename T, int kDim>
class Finisher {
 public:
  __device__ Finisher(const AttentionArgs& args, const DecodeLayout& layout) : args_(args), layout_(layout) {}

  __device__ void run(Ring results) const {
    while (true) {
      results.wait_until_full();
      const TileNote note = note_at(results.place());
      if (note.kind == TileNote::kEnd) return;
      for (int row = warp_index() - kFirstFinisher; row < note.num_queries * args_.group_size; row += kFinishers) {
        finish(results.place(), note, row);
      }
      results.free().arrive();
      results.advance();
    }
  }

 private:
  __device__ void finish(const char* result, const TileNote& note, int row) const {
    RowState<kDim> states[kDecodeWarps];
#pragma unroll
    for (int warp = 0; warp < kDecodeWarps; ++warp) {
      const char* const from = result + layout_.state_row(warp, row);
      states[warp].load(reinterpret_cast<const float*>(from + layout_.max_and_sum()),
                        reinterpret_cast<const float*>(from), args_.head_dim);
    }
    RowState<kDim> merged;
    merged.add(states, args_.scale_log2);
    if (note.place < 0) {
      merged.template store_output<T>(args_, note.first_query, note.kv_head, row);
    } else {
      const DecodeWorkspace& to = args_.decode_workspace;
      const int64_t at = to.row(note.place, row);
      merged.store(args_.workspace + to.max_and_sum(at), args_.workspace + to.values(at), args_.head_dim);
    }
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
};

}  // namespace cohort::cuda::decode
