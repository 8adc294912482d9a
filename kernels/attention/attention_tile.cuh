// The body of the tiled attention kernels: FlashAttention-2 (Dao 2023) with mma.sync, over keys and values that are
// gathered through a block table. Internal to this folder.
//
// A block has some rows of one sequence and KV head (SequenceView says what a row is). All its warps copy tiles of keys
// and values to shared memory, two stages deep; each of the first kRowWarps warps computes for 16 kMTiles rows. What a
// row computes depends on its own scores alone, tile by tile from multiples of a constant, whatever rows are beside it;
// a tile that it does not see multiplies its state by one and adds zero, or leaves it empty.
#pragma once

#include <climits>

#include "kernels/attention/attention_args.cuh"
#include "kernels/attention/attention_dispatch.cuh"
#include "kernels/attention/attention_scores.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/core/cuda_check.h"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda {

template <typename T_, int kDim_, int kRowWarps_, int kMTiles_, bool kIsPlain_>
struct TileConfig {
  using T = T_;                       // __half or __nv_bfloat16
  static constexpr int kDim = kDim_;  // padded head_dim
  static constexpr int kRowWarps = kRowWarps_;
  static constexpr int kMTiles = kMTiles_;  // tensor core tiles of 16 rows that a warp has
  static constexpr bool kIsPlain = kIsPlain_;
  static constexpr int kTile = tile_positions(kDim);
  static constexpr int kWarpRows = 16 * kMTiles;
  static constexpr int kRows = kWarpRows * kRowWarps;
  static constexpr int kRowElements = TileLayout{kDim, kRows, false}.row_elements();
  static constexpr int kChunks = kDim / 8;  // of 16 bytes, in a row
  using States = SoftmaxStates<kMTiles, kDim>;
  using Scores = float[kMTiles][kTile / 8][4];
};

// Rows [first_row, first_row + num_rows) of a sequence and KV head over positions [begin, end).
struct RowTile {
  int seq;
  int kv_head;
  int first_row;
  int num_rows;
  int begin;  // a multiple of C::kTile
  int end;
  int first_visible;  // what lies before, no row sees; not before `begin` by a tile or more
};

template <class C>
class TileKernel {
  using T = typename C::T;

 public:
  __device__ TileKernel(const AttentionArgs& args, const RowTile& tile, char* shared)
      : args_(args), tile_(tile), sequence_(args, tile.seq), shared_(shared), layout_{C::kDim, C::kRows, args.folds} {
    const int last_row = tile_.first_row + tile_.num_rows - 1;
    const int first_warp_row = tile_.first_row + warp() * C::kWarpRows;
    has_rows_ = warp() < C::kRowWarps && first_warp_row <= last_row;
    const int first_query = min(first_warp_row, last_row) / args_.group_size;
    const int last_query = min(first_warp_row + C::kWarpRows - 1, last_row) / args_.group_size;
    num_common_ = sequence_.num_visible(args_, first_query);
    num_seen_ = sequence_.num_visible(args_, last_query);
    first_seen_ = sequence_.first_visible(args_, first_query);
    first_common_ = sequence_.first_visible(args_, last_query);
  }

  __device__ void run() {
    stores_partials_ = args_.partials.num_partials > 0 && sequence_.context_length > args_.run_length;
    load_queries();
    store_units(0, find_units(tile_.begin));
    store_units(1, find_units(tile_.begin + C::kTile));
    __syncthreads();  // the units are there
    load_tile(0);
    states_.clear();
    int64_t run_end = int64_t{tile_.begin} + args_.run_length;  // may lie behind what an int holds
    if constexpr (!C::kIsPlain) run_end -= tile_.begin % args_.run_length;
    bool is_first_run = true;
    int stage = 0;
    for (int begin = tile_.begin; begin < tile_.end; begin += C::kTile, stage ^= 1) {
      wait_for_copies();
      __syncthreads();  // the tile has arrived, of all threads; the one before and its units are no longer read
      if (begin + C::kTile < tile_.end) load_tile(stage ^ 1);
      const int units = find_units(begin + 2 * C::kTile);
      if (has_rows_ && begin < num_seen_ && !is_before(begin + C::kTile - 1, first_seen_)) attend(begin, stage);
      store_units(stage, units);
      const bool is_last = begin + C::kTile >= tile_.end;
      if (has_rows_ && (is_last || begin + C::kTile == run_end)) {
        finish_run(begin, is_first_run, is_last);
        is_first_run = false;
        run_end += args_.run_length;
      }
    }
    if (has_rows_ && !stores_partials_) store_output();
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ static int row_in_tile(int m, int h) { return warp() * C::kWarpRows + m * 16 + h * 8 + lane() / 4; }
  __device__ static int column_in_tile(int n) { return n * 8 + lane() % 4 * 2; }
  // Whether a window begins behind the position; in plain attention there are none.
  __device__ static bool is_before(int position, int first_visible) { return !C::kIsPlain && position < first_visible; }
  __device__ T* queries() const { return reinterpret_cast<T*>(shared_); }
  __device__ T* keys(int stage) const { return reinterpret_cast<T*>(shared_ + layout_.keys(stage)); }
  __device__ T* values(int stage) const { return reinterpret_cast<T*>(shared_ + layout_.values(stage)); }
  __device__ int* units(int stage) const { return reinterpret_cast<int*>(shared_ + layout_.units(stage)); }

  // Counted in 16 bytes: a position, a head's part of a block, a block.
  __device__ int row_units() const { return args_.head_dim / 8; }
  __device__ int head_units() const { return args_.block_size * row_units(); }
  __device__ int block_units() const { return args_.num_kv_heads * head_units(); }

  // Where position begin + threadIdx.x is in the cache, in 16 bytes from the first of the KV head; -1 where no row sees
  // it and a block table need not have entries. Asked for two tiles ahead, so that nothing waits for the table.
  __device__ int find_units(int begin) const {
    const int position = begin + static_cast<int>(threadIdx.x);
    if (threadIdx.x >= C::kTile || position >= tile_.end || is_before(position, tile_.first_visible)) return -1;
    const int block_index = position / args_.block_size;
    const int block = sequence_.block_table[block_index];
    check_on_device(block >= 0 && block < args_.num_blocks);
    return block * block_units() + (position - block_index * args_.block_size) * row_units();
  }

  __device__ void store_units(int stage, int value) {
    if (threadIdx.x < C::kTile) units(stage)[threadIdx.x] = value;
  }

  // Queues the copies of the tile that units(stage) tells of. What is behind the end or the dimension becomes zero.
  __device__ void load_tile(int stage) {
    const int* const unit_of = units(stage);
    const int64_t head = int64_t{tile_.kv_head} * head_units();
    const char* const from_keys = static_cast<const char*>(args_.keys) + head * 16;
    const char* const from_values = static_cast<const char*>(args_.values) + head * 16;
#pragma unroll
    for (int i = 0; i < C::kTile * C::kChunks / kNumTileThreads; ++i) {
      const int index = i * kNumTileThreads + static_cast<int>(threadIdx.x);
      const int row = index / C::kChunks;
      const int chunk = index % C::kChunks;
      const int unit = unit_of[row];
      const bool is_there = unit >= 0 && chunk < row_units();
      const int64_t offset = is_there ? (int64_t{unit} + chunk) * 16 : 0;
      const int to = row * C::kRowElements + chunk * 8;
      copy16_async(keys(stage) + to, from_keys + offset, is_there);
      copy16_async(values(stage) + to, from_values + offset, is_there);
    }
  }

  __device__ void load_queries() {
    const T* const q = static_cast<const T*>(args_.q);
    for (int i = static_cast<int>(threadIdx.x); i < C::kRows * C::kChunks; i += kNumTileThreads) {
      const int row = i / C::kChunks;
      const int chunk = i % C::kChunks;
      const bool is_there = row < tile_.num_rows && chunk < row_units();
      const int64_t offset = is_there ? row_offset(row, args_.q_stride, args_.q_head_stride) + chunk * 8 : 0;
      copy16_async(queries() + row * C::kRowElements + chunk * 8, q + offset, is_there);
    }
  }

  // Elements from the first of q or out to a row of this tile.
  __device__ int64_t row_offset(int row, int64_t stride, int64_t head_stride) const {
    const int query = (tile_.first_row + row) / args_.group_size;
    const int head = tile_.kv_head * args_.group_size + (tile_.first_row + row) % args_.group_size;
    return (sequence_.first_query + query) * stride + head * head_stride;
  }

  __device__ void attend(int begin, int stage) {
    typename C::Scores scores = {};
    score(scores, stage);
    if constexpr (!C::kIsPlain) {
      if (args_.variant.changes_scores) change(scores, begin);
    }
    if (begin + C::kTile > num_common_ || is_before(begin, first_common_)) mask(scores, begin);
    states_.add_scores(scores, args_.scale_log2);
    add_values(scores, stage);
  }

  // scores += q k^T
  __device__ void score(typename C::Scores& scores, int stage) const {
    const T* const q = queries() + (warp() * C::kWarpRows + lane() % 16) * C::kRowElements + lane() / 16 * 8;
    const T* const k = keys(stage) + (lane() / 16 * 8 + lane() % 8) * C::kRowElements + lane() / 8 % 2 * 8;
#pragma unroll
    for (int kk = 0; kk < C::kDim; kk += 16) {
      uint32_t a[C::kMTiles][4];
#pragma unroll
      for (int m = 0; m < C::kMTiles; ++m) load_matrices(a[m], q + m * 16 * C::kRowElements + kk);
#pragma unroll
      for (int n = 0; n < C::kTile / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, k + n * 16 * C::kRowElements + kk);
#pragma unroll
        for (int m = 0; m < C::kMTiles; ++m) {
          multiply_add<T>(scores[m][2 * n], a[m], b[0], b[1]);
          multiply_add<T>(scores[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // What a row does not see becomes -infinity. Rows that only fill the tile see what the last one does.
  __device__ void mask(typename C::Scores& scores, int begin) const {
#pragma unroll
    for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = tile_.first_row + min(row_in_tile(m, h), tile_.num_rows - 1);
        const int num_visible = sequence_.num_visible(args_, row / args_.group_size);
        const int first_visible = sequence_.first_visible(args_, row / args_.group_size);
#pragma unroll
        for (int n = 0; n < C::kTile / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int position = begin + column_in_tile(n) + e;
            if (position >= num_visible || is_before(position, first_visible)) scores[m][n][2 * h + e] = -INFINITY;
          }
        }
      }
    }
  }

  __device__ void change(typename C::Scores& scores, int begin) const {
#pragma unroll
    for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = tile_.first_row + min(row_in_tile(m, h), tile_.num_rows - 1);
        const int head = tile_.kv_head * args_.group_size + row % args_.group_size;
        change_scores<C::kTile / 4>(
            args_.variant, head, slope_log2(args_.variant, head), sequence_.position(row / args_.group_size),
            [&](int i) -> float& { return scores[m][i / 2][2 * h + i % 2]; },
            [&](int i) { return begin + column_in_tile(i / 2) + i % 2; });
      }
    }
  }

  // values of the states += probabilities v
  __device__ void add_values(const typename C::Scores& p, int stage) {
    const T* const v = values(stage) + lane() % 16 * C::kRowElements + lane() / 16 * 8;
#pragma unroll
    for (int j = 0; j < C::kTile / 16; ++j) {
      uint32_t a[C::kMTiles][4];
#pragma unroll
      for (int m = 0; m < C::kMTiles; ++m) {
        a[m][0] = pack_pair<T>(p[m][2 * j][0], p[m][2 * j][1]);
        a[m][1] = pack_pair<T>(p[m][2 * j][2], p[m][2 * j][3]);
        a[m][2] = pack_pair<T>(p[m][2 * j + 1][0], p[m][2 * j + 1][1]);
        a[m][3] = pack_pair<T>(p[m][2 * j + 1][2], p[m][2 * j + 1][3]);
      }
#pragma unroll
      for (int n = 0; n < C::kDim / 16; ++n) {
        uint32_t b[4];
        load_matrices_transposed(b, v + j * 16 * C::kRowElements + n * 16);
#pragma unroll
        for (int m = 0; m < C::kMTiles; ++m) {
          multiply_add<T>(states_.values[m][2 * n], a[m], b[0], b[1]);
          multiply_add<T>(states_.values[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // The run that the tile at `begin` ends: its states go to the workspace or into the total, unless they are all.
  __device__ void finish_run(int begin, bool is_first, bool is_last) {
    states_.reduce_sums();
    if (stores_partials_) {
      store_partials(begin / args_.run_length);
    } else if (!is_first || !is_last) {
      constexpr int kStride = C::kRowWarps * 32;
      auto* const totals = reinterpret_cast<float4*>(shared_ + layout_.totals()) + threadIdx.x;
      states_.fold_into(totals, kStride, is_first, args_.scale_log2);
    }
    if (!is_last) states_.clear();
  }

  __device__ void store_partials(int partial) const {
#pragma unroll
    for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_in_tile(m, h);
        if (row >= tile_.num_rows) continue;
        const int query = (tile_.first_row + row) / args_.group_size;
        const int head = tile_.kv_head * args_.group_size + (tile_.first_row + row) % args_.group_size;
        const int64_t to = args_.partials.row(tile_.seq, query, head) + partial;
        float* const out = args_.workspace + args_.partials.values(to);
#pragma unroll
        for (int n = 0; n < C::kDim / 8; ++n) {
          if (n * 8 >= args_.head_dim) break;
          *reinterpret_cast<float2*>(out + column_in_tile(n)) =
              make_float2(states_.values[m][n][2 * h], states_.values[m][n][2 * h + 1]);
        }
        if (lane() % 4 == 0) {
          *reinterpret_cast<float2*>(args_.workspace + args_.partials.max_and_sum(to)) =
              make_float2(states_.max[m][h], states_.sum[m][h]);
        }
      }
    }
  }

  __device__ void store_output() const {
#pragma unroll
    for (int m = 0; m < C::kMTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_in_tile(m, h);
        if (row >= tile_.num_rows) continue;
        T* const out = static_cast<T*>(args_.out) + row_offset(row, args_.out_stride, args_.out_head_stride);
        const float inverse = inverse_of_sum(states_.sum[m][h]);
#pragma unroll
        for (int n = 0; n < C::kDim / 8; ++n) {
          if (n * 8 >= args_.head_dim) break;
          *reinterpret_cast<uint32_t*>(out + column_in_tile(n)) = pack_pair<T>(
              __fmul_rn(states_.values[m][n][2 * h], inverse), __fmul_rn(states_.values[m][n][2 * h + 1], inverse));
        }
      }
    }
  }

  const AttentionArgs& args_;
  const RowTile& tile_;
  const SequenceView<C::kIsPlain> sequence_;
  char* const shared_;
  const TileLayout layout_;
  int num_common_, num_seen_;      // positions that all of the warp's rows see, that any sees: where these end
  int first_common_, first_seen_;  // and where they begin
  bool has_rows_, stores_partials_ = false;
  typename C::States states_;
};

}  // namespace cohort::cuda
