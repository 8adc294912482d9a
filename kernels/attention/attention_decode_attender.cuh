// The warps of the decode kernel that attend. Internal to this folder.
#pragma once

#include <cmath>

#include "kernels/attention/attention_decode.cuh"
#include "kernels/attention/attention_scores.cuh"
#include "kernels/attention/attention_softmax.cuh"

namespace cohort::cuda::decode {

// A warp that attends to the positions 2 w and 2 w + 1 of each chunk of the tiles that come.
template <typename T, int kDim, bool kIsPlain>
class Attender {
 public:
  __device__ Attender(const AttentionArgs& args, const DecodeLayout& layout) : args_(args), layout_(layout) {}

  // A lane frees and fills for itself, so that what it read and wrote needs no barrier of its warp.
  __device__ void run(Ring stages, Ring results) {
    while (true) {
      stages.wait_until_full();
      char* const stage = stages.place();
      const TileNote note = note_at(stage + layout_.note());
      if (note.kind == TileNote::kEnd) return give(results, note);
      if ((note.kind & TileNote::kFirst) != 0) {
        states_.clear();
        load_queries(stage + layout_.queries(), note.num_queries * args_.group_size);
        if constexpr (!kIsPlain) find_rows(note);
      }
      if (is_seen_by_all(note)) {
        attend<false>(stage, note);
      } else {
        attend<true>(stage, note);
      }
      stages.free().arrive();
      stages.advance();
      if ((note.kind & TileNote::kLast) == 0) continue;
      states_.reduce_sums();
      give(results, note);
      results.advance();
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

  // A query sees of a tile's positions, which may be fewer or more than the tile's own, [first_visible(),
  // num_visible()).
  __device__ static int position(const TileNote& note, int query) {
    return note.num_positions - note.num_queries + query;
  }
  __device__ int num_visible(const TileNote& note, int query) const {
    return kIsPlain || args_.variant.is_causal ? position(note, query) + 1 : note.num_positions;
  }
  __device__ int first_visible(const TileNote& note, int query) const {
    return kIsPlain || args_.variant.window == 0 ? 0 : position(note, query) + 1 - args_.variant.window;
  }
  __device__ bool is_seen_by_all(const TileNote& note) const {
    const bool is_seen = num_visible(note, 0) >= kDecodeTile;
    return kIsPlain ? is_seen : is_seen && first_visible(note, note.num_queries - 1) <= 0;
  }

  // Once for an item, because it takes divisions and a load.
  __device__ void find_rows(const TileNote& note) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = row(h, note.num_queries * args_.group_size);
      query_[h] = r / args_.group_size;
      head_[h] = note.kv_head * args_.group_size + r % args_.group_size;
      slope_[h] = slope_log2(args_.variant, head_[h]);
    }
  }

  // kIsCut: not every row sees all of the tile.
  template <bool kIsCut>
  __device__ void attend(const char* stage, const TileNote& note) {
    Scores scores = {};
    score(scores, stage + layout_.keys());
    if constexpr (!kIsPlain) {
      if (args_.variant.changes_scores) change(scores, note);
    }
    if constexpr (kIsCut) mask(scores, note);
    states_.add_scores(scores, args_.scale_log2);
    uint32_t is_stored[2] = {~0u, ~0u};  // of pairs of positions: those that no row sees may be NaN
    if constexpr (kIsCut) {
      const int first = first_visible(note, 0);
      const auto is_seen = [&](int position) {
        return position < note.num_positions && (kIsPlain || position >= first);
      };
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        is_stored[t] = (is_seen(position_of(t, column(0))) ? 0xffffu : 0u) |
                       (is_seen(position_of(t, column(1))) ? 0xffff0000u : 0u);
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
      const int query = kIsPlain ? row(h, note.num_queries * args_.group_size) / args_.group_size : query_[h];
      const int end = num_visible(note, query);
      const int first = first_visible(note, query);
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int position = position_of(t, column(e));
          if (position >= end || (!kIsPlain && position < first)) scores[0][t][2 * h + e] = -INFINITY;
        }
      }
    }
  }

  __device__ void change(Scores& scores, const TileNote& note) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (h * 8 >= note.num_queries * args_.group_size) break;  // all of them only fill the tile
      change_scores<4>(
          args_.variant, head_[h], slope_[h], position(note, query_[h]),
          [&](int i) -> float& { return scores[0][i / 2][2 * h + i % 2]; },
          [&](int i) { return position_of(i / 2, column(i % 2)); });
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

  // The item ends, in this block, or there is no more.
  __device__ void give(const Ring& results, const TileNote& note) const {
    results.wait_until_free();
    if (threadIdx.x == 0) note_at(results.place()) = note;
    if (note.kind != TileNote::kEnd) store_states(results.place(), note.num_queries * args_.group_size);
    results.full().arrive();
  }

  __device__ void store_states(char* result, int num_rows) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = h * 8 + lane_index() / 4;
      if (row >= num_rows) continue;
      char* const to = result + layout_.state_row(warp_index(), row);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n * 8 >= args_.head_dim) break;
        reinterpret_cast<float2*>(to)[n * 4 + column(0) / 2] =
            make_float2(states_.values[0][n][2 * h], states_.values[0][n][2 * h + 1]);
      }
      if (lane_index() % 4 == 0) {
        *reinterpret_cast<float2*>(to + layout_.max_and_sum()) = make_float2(states_.max[0][h], states_.sum[0][h]);
      }
    }
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  uint32_t q_[kSteps][4];
  int query_[2], head_[2];  // of the thread's rows; in plain attention not used, nor is the slope
  float slope_[2];          // slope_log2() of the head
  SoftmaxStates<1, kDim> states_;
};

}  // namespace cohort::cuda::decode
