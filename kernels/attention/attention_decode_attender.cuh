// The warps of the decode kernel that attend. Internal to this folder.
#pragma once

#include <cmath>

#include "kernels/attention/attention_decode.cuh"
#include "kernels/attention/attention_scores.cuh"
#include "kernels/attention/attention_softmax.cuh"

namespace cohort::cuda::decode {

// A warp that attends to the positions 2 w and 2 w + 1 of each chunk of the tiles that come.
//
// Its products are transposed, positions by rows and dimensions by rows, because rows are few: a tensor core tile has
// eight of them so, where it would have sixteen. Rows are in one or two such tiles; a thread has two rows of each. With
// one, a warp has two tiles of positions at hand where it can, because what it waits for is mostly itself.
template <typename T, int kDim, bool kIsPlain>
class Attender {
 public:
  __device__ Attender(const AttentionArgs& args, const DecodeLayout& layout) : args_(args), layout_(layout) {}

  // A lane frees and fills for itself, so that what it read and wrote needs no barrier of its warp.
  __device__ void run(Ring stages, Ring results) {
    const bool has_room = stages.num_places() >= kPlacesForPairs;
    while (true) {
      stages.wait_until_full();
      char* const stage = stages.place();
      TileNote note = note_at(stage + layout_.note());
      if (note.kind == TileNote::kEnd) return give(results, note);
      const bool has_one_row_tile = note.num_queries * args_.group_size <= kTileRows;
      if ((note.kind & TileNote::kFirst) != 0) begin_item(stage + layout_.queries(), note);
      bool is_pair = has_room && has_one_row_tile && (note.kind & TileNote::kLast) == 0 && is_seen_by_all(note);
      if (is_pair) {
        Ring seconds = stages;
        seconds.advance();
        seconds.wait_until_full();
        const TileNote second = note_at(seconds.place() + layout_.note());
        is_pair = is_seen_by_all(second);
        if (is_pair) {
          attend<1, 2, false>({stage, seconds.place()}, {note, second});
          stages.free().arrive();
          stages = seconds;
          note.kind = second.kind;
        }
      }
      if (!is_pair) {
        if (has_one_row_tile) {
          attend_to_one<1>(stage, note);
        } else {
          attend_to_one<2>(stage, note);
        }
      }
      stages.free().arrive();
      stages.advance();
      if ((note.kind & TileNote::kLast) == 0) continue;
      give(results, note);
      results.advance();
    }
  }

 private:
  static constexpr int kSteps = kDim / 16;  // of products along the dimension
  // Only one instance is for heads of several dimensions: asking at each step takes as long as the products.
  static constexpr bool kIsWhole = kDim != kMaxTileDim;
  static constexpr int kPlacesForPairs = 4;  // of the ring: two are to be on their way meanwhile
  static constexpr int kTileRows = 8;
  static constexpr int kRowTiles = kDecodeRows / kTileRows;
  // Of 16 positions and kTileRows rows. Element e is of position 2 w + e / 2 of chunk lane / 4.
  using Scores = float[4];

  __device__ bool has_step(int i) const { return kIsWhole || i * 16 < args_.head_dim; }
  __device__ static int position_of(int e) { return lane_index() / 4 * kDecodeChunk + 2 * warp_index() + e / 2; }
  // Of a thread's two rows of a row tile.
  __device__ static int row_of(int row_tile, int e) { return row_tile * kTileRows + lane_index() % 4 * 2 + e % 2; }

  __device__ void begin_item(const char* queries, const TileNote& note) {
    const int num_rows = note.num_queries * args_.group_size;
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
      if (j * kTileRows >= num_rows) break;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        max_[j][e] = -INFINITY;
        sum_[j][e] = 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) values_[j][i][e] = 0.0f;
      }
      load_queries(q_[j], queries + min(j * kTileRows + lane_index() % 8, num_rows - 1) * layout_.query_row_bytes());
    }
    if constexpr (!kIsPlain) find_rows(note);
  }

  // Two steps at once. Rows that only fill the tile are like the last.
  __device__ void load_queries(uint32_t (&q)[kSteps][2], const char* row) const {
#pragma unroll
    for (int i = 0; i < kSteps; i += 2) {
      if (!has_step(i)) break;
      uint32_t steps[4];
      load_matrices(steps, row + min(i * 32 + lane_index() / 8 * 16, layout_.row_bytes() - 16));
      q[i][0] = steps[0];
      q[i][1] = steps[1];
      if (i + 1 == kSteps) break;
      q[i + 1][0] = steps[2];
      q[i + 1][1] = steps[3];
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
    for (int j = 0; j < kRowTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = min(row_of(j, e), note.num_queries * args_.group_size - 1);
        query_[j][e] = row / args_.group_size;
        head_[j][e] = note.kv_head * args_.group_size + row % args_.group_size;
        slope_[j][e] = slope_log2(args_.variant, head_[j][e]);
      }
    }
  }

  template <int kTiles>
  __device__ void attend_to_one(const char* stage, const TileNote& note) {
    if (is_seen_by_all(note)) {
      attend<kTiles, 1, false>({stage}, {note});
    } else {
      attend<kTiles, 1, true>({stage}, {note});
    }
  }

  // Of kTiles row tiles to kCount tiles of positions. kIsCut: not every row sees all of these.
  template <int kTiles, int kCount, bool kIsCut>
  __device__ void attend(const char* const (&stages)[kCount], const TileNote (&notes)[kCount]) {
    Scores scores[kCount][kTiles];
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      score(scores[c], stages[c] + layout_.keys());
      if constexpr (!kIsPlain) {
        if (args_.variant.changes_scores) change(scores[c], notes[c]);
      }
      if constexpr (kIsCut) mask(scores[c], notes[c]);
    }
    uint32_t probabilities[kCount][kTiles][2];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) add_scores(j, scores, probabilities);
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      add_values<kTiles, kIsCut>(probabilities[c], stages[c] + layout_.values(), notes[c]);
    }
  }

  // k q^T
  template <int kTiles>
  __device__ void score(Scores (&scores)[kTiles], const char* keys) const {
    const char* const k = keys + lane_index() % 8 * layout_.chunk_bytes() +
                          (2 * warp_index() + lane_index() / 8 % 2) * layout_.row_bytes() + lane_index() / 16 * 16;
    constexpr int kChains = 4 / kTiles;  // of dependent products, side by side
    float parts[kTiles][kChains][4] = {};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (!has_step(i)) break;
      uint32_t a[4];
      load_matrices(a, k + i * 32);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply_add<T>(parts[j][i % kChains], a, q_[j][i][0], q_[j][i][1]);
    }
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[j][e] = parts[j][0][e];
#pragma unroll
        for (int chain = 1; chain < kChains; ++chain) scores[j][e] += parts[j][chain][e];
      }
    }
  }

  // What a row does not see becomes -infinity.
  template <int kTiles>
  __device__ void mask(Scores (&scores)[kTiles], const TileNote& note) const {
    const int num_rows = note.num_queries * args_.group_size;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int query = kIsPlain ? min(row_of(j, e), num_rows - 1) / args_.group_size : query_[j][e];
        const int end = num_visible(note, query);
        const int first = first_visible(note, query);
#pragma unroll
        for (int i = e; i < 4; i += 2) {
          if (position_of(i) >= end || (!kIsPlain && position_of(i) < first)) scores[j][i] = -INFINITY;
        }
      }
    }
  }

  template <int kTiles>
  __device__ void change(Scores (&scores)[kTiles], const TileNote& note) const {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        change_scores<2>(
            args_.variant, head_[j][e], slope_[j][e], position(note, query_[j][e]),
            [&](int i) -> float& { return scores[j][2 * i + e]; }, [&](int i) { return position_of(2 * i); });
      }
    }
  }

  // The largest over a warp's positions.
  __device__ static float column_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 4));
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 8));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 16));
  }
  __device__ static float column_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 4);
    x += __shfl_xor_sync(~0u, x, 8);
    return x + __shfl_xor_sync(~0u, x, 16);
  }

  // Makes probabilities (not yet divided by their sum) of a row tile's scores, as products with values take them, and
  // rescales what was summed before to the new largest score.
  template <int kTiles, int kCount>
  __device__ void add_scores(int j, const Scores (&scores)[kCount][kTiles],
                             uint32_t (&probabilities)[kCount][kTiles][2]) {
    float p[kCount][4];
    float corrections[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float largest = fmaxf(scores[0][j][e], scores[0][j][2 + e]);
#pragma unroll
      for (int c = 1; c < kCount; ++c) largest = fmaxf(largest, fmaxf(scores[c][j][e], scores[c][j][2 + e]));
      const float new_max = fmaxf(max_[j][e], column_max(largest));
      const float offset = score_offset(new_max);
      const float scaled_offset = offset * args_.scale_log2;
      corrections[e] = exp2_approx((max_[j][e] - offset) * args_.scale_log2);
      max_[j][e] = new_max;
      float sum = 0.0f;
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
#pragma unroll
        for (int i = e; i < 4; i += 2) {
          p[c][i] = exp2_approx(fmaf(scores[c][j][i], args_.scale_log2, -scaled_offset));
          sum += p[c][i];
        }
      }
      sum_[j][e] = fmaf(sum_[j][e], corrections[e], sum);
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      probabilities[c][j][0] = transpose(pack_pair<T>(p[c][0], p[c][1]));
      probabilities[c][j][1] = transpose(pack_pair<T>(p[c][2], p[c][3]));
    }
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) values_[j][i][e] *= corrections[e % 2];
    }
  }

  // values += v^T probabilities
  template <int kTiles, bool kIsCut>
  __device__ void add_values(const uint32_t (&probabilities)[kTiles][2], const char* values, const TileNote& note) {
    uint32_t is_stored[2] = {};  // of pairs of positions: those that no row sees may be NaN
    if constexpr (kIsCut) {
      const int first = first_visible(note, 0);
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int position = (lane_index() % 4 * 2 + i) * kDecodeChunk + 2 * warp_index() + t;
          const bool is_seen = position < note.num_positions && (kIsPlain || position >= first);
          is_stored[t] |= is_seen ? 0xffffu << (16 * i) : 0u;
        }
      }
    }
    const char* const v = values + lane_index() % 8 * layout_.chunk_bytes() +
                          (2 * warp_index() + lane_index() / 16) * layout_.row_bytes() + lane_index() / 8 % 2 * 16;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (!has_step(i)) break;
      uint32_t a[4];
      load_matrices_transposed(a, v + i * 32);
      if constexpr (kIsCut) {
#pragma unroll
        for (int e = 0; e < 4; ++e) a[e] &= is_stored[e / 2];
      }
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply_add<T>(values_[j][i], a, probabilities[j][0], probabilities[j][1]);
    }
  }

  // The item ends, in this block, or there is no more.
  __device__ void give(const Ring& results, const TileNote& note) {
    results.wait_until_free();
    if (threadIdx.x == 0) note_at(results.place()) = note;
    if (note.kind != TileNote::kEnd) store_states(results.place(), note.num_queries * args_.group_size);
    results.full().arrive();
  }

  __device__ void store_states(char* result, int num_rows) {
#pragma unroll
    for (int j = 0; j < kRowTiles; ++j) {
      if (j * kTileRows >= num_rows) break;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float sum = column_sum(sum_[j][e]);
        const int row = row_of(j, e);
        if (row >= num_rows) continue;
        char* const to = result + layout_.state_row(warp_index(), row);
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          if (!has_step(i)) break;
          float* const at = reinterpret_cast<float*>(to) + i * 16 + lane_index() / 4;
          at[0] = values_[j][i][e];
          at[8] = values_[j][i][2 + e];
        }
        if (lane_index() / 4 == 0) {
          *reinterpret_cast<float2*>(to + layout_.max_and_sum()) = make_float2(max_[j][e], sum);
        }
      }
    }
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  uint32_t q_[kRowTiles][kSteps][2];
  // Of the thread's rows; in plain attention not used, nor is the slope.
  int query_[kRowTiles][2], head_[kRowTiles][2];
  float slope_[kRowTiles][2];  // slope_log2() of the head
  // Their states. Of each 16 dimensions a thread has lane / 4 for both rows, then 8 more.
  float values_[kRowTiles][kSteps][4];
  float max_[kRowTiles][2];
  float sum_[kRowTiles][2];  // of this thread's positions; threads with the same rows have the others
};

}  // namespace cohort::cuda::decode
