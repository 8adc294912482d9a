// The warps of the decode kernel that compute. Internal to this folder.
#pragma once

#include <cmath>

#include "kernels/attention/attention_decode.cuh"
#include "kernels/attention/attention_softmax.cuh"

namespace cohort::cuda::decode {

// A warp that attends to the positions 2 w and 2 w + 1 of each chunk of the tiles that come.
template <typename T, int kDim>
class Attender {
 public:
  __device__ Attender(const AttentionArgs& args, const DecodeLayout& layout, char* shared)
      : args_(args), layout_(layout), shared_(shared) {}

  __device__ void run(Ring ring) {
    while (true) {
      ring.wait_until_full();
      const char* const stage = ring.stage();
      const TileNote note = ring.note();
      if (note.kind == TileNote::kEnd) return;
      if ((note.kind & TileNote::kFirst) != 0) {
        states_.clear();
        load_queries(stage + layout_.queries(), note.num_queries * args_.group_size);
      }
      if (note.num_positions - note.num_queries + 1 >= kDecodeTile) {
        attend<false>(stage, note);
      } else {
        attend<true>(stage, note);
      }
      __syncwarp();  // all lanes have read
      if (lane_index() == 0) ring.free().arrive();
      ring.advance();
      if ((note.kind & TileNote::kLast) != 0) finish(note);
    }
  }

 private:
  static constexpr int kSteps = kDim / 16;  // of products along the dimension
  using Scores = float[1][2][4];            // of 16 rows and a warp's 16 positions of a tile

  // Position of column `column` of the scores, in its tile: of column tile t it is position 2 w + t of chunk `column`.
  __device__ static int position_of(int column_tile, int column) {
    return column * kDecodeChunk + 2 * warp_index() + column_tile;
  }
  __device__ static int column(int e) { return lane_index() % 4 * 2 + e; }
  // Rows that only fill the tile are like the last.
  __device__ static int row(int h, int num_rows) { return min(h * 8 + lane_index() / 4, num_rows - 1); }

  __device__ void load_queries(const char* queries, int num_rows) {
    const char* const q =
        queries + min(lane_index() % 16, num_rows - 1) * layout_.query_row_bytes() + lane_index() / 16 * 16;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * 16 >= args_.head_dim) break;
      load_matrices(q_[i], q + i * 32);
    }
  }

  // kIsCut: not every row sees all of the tile.
  template <bool kIsCut>
  __device__ void attend(const char* stage, const TileNote& note) {
    Scores scores = {};
    score(scores, stage + layout_.keys());
    if constexpr (kIsCut) mask(scores, note);
    states_.add_scores(scores, args_.scale_log2);
    uint32_t is_stored[2] = {~0u, ~0u};  // of pairs of positions: those behind the end may be NaN
    if constexpr (kIsCut) {
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        is_stored[t] = (position_of(t, column(0)) < note.num_positions ? 0xffffu : 0u) |
                       (position_of(t, column(1)) < note.num_positions ? 0xffff0000u : 0u);
      }
    }
    add_values<kIsCut>(scores, stage + layout_.values(), is_stored);
  }

  // scores += q k^T
  __device__ void score(Scores& scores, const char* keys) const {
    const char* const k = keys + lane_index() % 8 * layout_.chunk_bytes() +
                          (2 * warp_index() + lane_index() / 16) * layout_.row_bytes() + lane_index() / 8 % 2 * 16;
    float odd[2][4] = {};  // halves the chain of dependent products
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * 16 >= args_.head_dim) break;
      uint32_t b[4];
      load_matrices(b, k + i * 32);
      if (i % 2 == 0) {
        multiply_add<T>(scores[0][0], q_[i], b[0], b[1]);
        multiply_add<T>(scores[0][1], q_[i], b[2], b[3]);
      } else {
        multiply_add<T>(odd[0], q_[i], b[0], b[1]);
        multiply_add<T>(odd[1], q_[i], b[2], b[3]);
      }
    }
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[0][t][e] += odd[t][e];
    }
  }

  // What a row does not see becomes -infinity.
  __device__ void mask(Scores& scores, const TileNote& note) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int query = row(h, note.num_queries * args_.group_size) / args_.group_size;
      const int num_visible = note.num_positions - note.num_queries + query + 1;
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (position_of(t, column(e)) >= num_visible) scores[0][t][2 * h + e] = -INFINITY;
        }
      }
    }
  }

  // values of the states += probabilities v
  template <bool kIsCut>
  __device__ void add_values(const Scores& p, const char* values, const uint32_t (&is_stored)[2]) {
    const char* const v = values + lane_index() % 8 * layout_.chunk_bytes() +
                          (2 * warp_index() + lane_index() / 8 % 2) * layout_.row_bytes() + lane_index() / 16 * 16;
    const uint32_t a[4] = {pack_pair<T>(p[0][0][0], p[0][0][1]), pack_pair<T>(p[0][0][2], p[0][0][3]),
                           pack_pair<T>(p[0][1][0], p[0][1][1]), pack_pair<T>(p[0][1][2], p[0][1][3])};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * 16 >= args_.head_dim) break;
      uint32_t b[4];
      load_matrices_transposed(b, v + i * 32);
      if constexpr (kIsCut) {
#pragma unroll
        for (int j = 0; j < 4; ++j) b[j] &= is_stored[j % 2];
      }
      multiply_add<T>(states_.values[0][2 * i], a, b[0], b[1]);
      multiply_add<T>(states_.values[0][2 * i + 1], a, b[2], b[3]);
    }
  }

  // The item ends, in this block: its state is that of all warps. Two take those of the other two, one that of the
  // other. What a state holds where, a thread of any warp has alike.
  __device__ void finish(const TileNote& note) {
    states_.reduce_sums();
    const int num_rows = note.num_queries * args_.group_size;
    const int num_halves = num_rows > 8 ? 2 : 1;
    const int warp = warp_index();
    wait_for_warps();  // warp 0 has taken the last item's states
    if (warp >= 2) give_state(warp - 2, num_halves);
    wait_for_warps();  // for the states of the warps 2 and 3
    if (warp < 2) take_state(warp, num_halves);
    if (warp == 1) give_state(1, num_halves);
    wait_for_warps();  // for the state of warp 1
    if (warp != 0) return;
    take_state(1, num_halves);
    if (note.place >= 0) {
      store_state(note.place, num_rows);
    } else {
      store_output(note, num_rows);
    }
  }

  __device__ static void wait_for_warps() {
    asm volatile("bar.sync %0, %1;" ::"n"(kConsumerBarrier), "n"(kDecodeWarps * 32) : "memory");
  }

  __device__ float2* state(int i) const { return reinterpret_cast<float2*>(shared_ + layout_.state(i)) + lane_index(); }

  __device__ void give_state(int to, int num_halves) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (h == num_halves) break;
      float2* const part = state(to) + h * (kDim / 8 + 1) * 32;
      part[0] = make_float2(states_.max[0][h], states_.sum[0][h]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        part[(n + 1) * 32] = make_float2(states_.values[0][n][2 * h], states_.values[0][n][2 * h + 1]);
      }
    }
  }

  __device__ void take_state(int from, int num_halves) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (h == num_halves) break;
      const float2* const part = state(from) + h * (kDim / 8 + 1) * 32;
      const float2 head = part[0];
      const MergeWeights weights = merge_weights(states_.max[0][h], head.x, args_.scale_log2);
      states_.max[0][h] = weights.max;
      states_.sum[0][h] = merge(states_.sum[0][h], head.y, weights);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const float2 other = part[(n + 1) * 32];
        float(&values)[4] = states_.values[0][n];
        values[2 * h] = merge(values[2 * h], other.x, weights);
        values[2 * h + 1] = merge(values[2 * h + 1], other.y, weights);
      }
    }
  }

  __device__ void store_state(int place, int num_rows) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = h * 8 + lane_index() / 4;
      if (row >= num_rows) continue;
      const int64_t to = args_.decode_workspace.row(place, row);
      float* const values = args_.workspace + args_.decode_workspace.values(to);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n * 8 >= args_.head_dim) break;
        *reinterpret_cast<float2*>(values + n * 8 + column(0)) =
            make_float2(states_.values[0][n][2 * h], states_.values[0][n][2 * h + 1]);
      }
      if (lane_index() % 4 == 0) {
        *reinterpret_cast<float2*>(args_.workspace + args_.decode_workspace.max_and_sum(to)) =
            make_float2(states_.max[0][h], states_.sum[0][h]);
      }
    }
  }

  __device__ void store_output(const TileNote& note, int num_rows) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = h * 8 + lane_index() / 4;
      if (row >= num_rows) continue;
      const int query = note.first_query + row / args_.group_size;
      const int head = note.kv_head * args_.group_size + row % args_.group_size;
      T* const out = static_cast<T*>(args_.out) + query * args_.out_stride + head * args_.out_head_stride;
      const float inverse = inverse_of_sum(states_.sum[0][h]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n * 8 >= args_.head_dim) break;
        *reinterpret_cast<uint32_t*>(out + n * 8 + column(0)) =
            pack_pair<T>(states_.values[0][n][2 * h] * inverse, states_.values[0][n][2 * h + 1] * inverse);
      }
    }
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  char* const shared_;
  uint32_t q_[kSteps][4];
  SoftmaxStates<1, kDim> states_;
};

}  // namespace cohort::cuda::decode
