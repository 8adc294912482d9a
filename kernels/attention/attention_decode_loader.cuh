// The warp of the decode kernel that finds its block's share of the work and loads it. Internal to this folder.
#pragma once

#include "kernels/attention/attention_decode.cuh"
#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda::decode {

constexpr int kTilesPerStep = 32 / kDecodeChunks;  // whose chunks the warp looks up at once, one a lane
static_assert(kTilesPerStep == kNumWarps - kLoader);

// The sequence in which a tile lies, and where.
template <bool kIsPlain>
struct Cursor {
  int seq = 0;
  int context_length = 0;
  int first_query = 0;
  int num_queries = 0;
  int tiles_per_head = 0;  // 0 for a sequence that is not the decode kernel's
  int offset = 0;          // of the tile, from the first of the sequence

  __device__ void load(const AttentionArgs& args) {
    fetch(args);
    settle(args);
  }
  // The two halves of load(), for those who load several: what is read, what is made of it.
  __device__ void fetch(const AttentionArgs& args) {
    context_length = args.context_lengths[seq];
    first_query = args.query_starts[seq];
    num_queries = args.query_starts[seq + 1] - first_query;
  }
  __device__ void settle(const AttentionArgs& args) {
    check_on_device(num_queries <= context_length || context_length == 0 || (!kIsPlain && !args.variant.is_causal));
    check_on_device(context_length <= args.table_positions);
    tiles_per_head = num_queries > 0 && num_queries <= args.max_decode_queries
                         ? decode_tiles(context_length) - first_visible(args) / kDecodeTile
                         : 0;
  }
  // What lies before, no query sees. Tiles begin with that in which it lies.
  __device__ int first_visible(const AttentionArgs& args) const {
    if (kIsPlain || args.variant.window == 0) return 0;
    return max(0, context_length - num_queries + 1 - args.variant.window);
  }
  __device__ int num_tiles(const AttentionArgs& args) const { return tiles_per_head * args.num_kv_heads; }
  // Requires that so many tiles follow.
  __device__ void advance(const AttentionArgs& args, int tiles) {
    offset += tiles;
    while (offset >= num_tiles(args)) {
      offset -= num_tiles(args);
      ++seq;
      load(args);
    }
  }
};

__device__ inline int warp_inclusive_sum(int x) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(~0u, x, distance);
    if (lane_index() >= distance) x += below;
  }
  return x;
}

// The lengths of all sequences, as a warp reads them.
template <bool kIsPlain>
class Lengths {
  using Cursor = decode::Cursor<kIsPlain>;

 public:
  __device__ explicit Lengths(const AttentionArgs& args) : args_(args) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      own_[i].seq = 32 * i + lane_index();
      if (own_[i].seq < args_.num_seqs) own_[i].fetch(args_);
    }
    int sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (own_[i].seq < args_.num_seqs) own_[i].settle(args_);
      sum += own_[i].num_tiles(args_);
    }
    for (int first = 32 * kOwn; first < args.num_seqs; first += 32) sum += load(first).num_tiles(args_);
    num_tiles_ = static_cast<int>(__reduce_add_sync(~0u, static_cast<unsigned>(sum)));
  }

  __device__ int num_tiles() const { return num_tiles_; }  // of all sequences

  // Sequence first + lane, of a multiple of 32; one without tiles if there is none.
  __device__ Cursor at(int first) const {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (first == 32 * i) return own_[i];
    }
    return load(first);
  }

  // The sequence `seq`, at its first tile, whose number among all tiles is `first_tile`.
  __device__ Cursor sequence(int seq, int& first_tile) const {
    int before = 0;
    for (int first = 0;; first += 32) {
      const Cursor cursor = at(first);
      const int num_tiles = cursor.num_tiles(args_);
      const int end = before + warp_inclusive_sum(num_tiles);
      before = __shfl_sync(~0u, end, 31);
      if (seq >= first + 32) continue;
      first_tile = __shfl_sync(~0u, end - num_tiles, seq - first);
      return of_lane(cursor, seq - first);
    }
  }

  // False if there are not so many tiles.
  __device__ bool find(int tile, Cursor& found) const {
    int before = 0;
    for (int first = 0; first < args_.num_seqs; first += 32) {
      const Cursor cursor = at(first);
      const int end = before + warp_inclusive_sum(cursor.num_tiles(args_));
      const unsigned is_behind = __ballot_sync(~0u, tile < end);
      if (is_behind == 0) {
        before = __shfl_sync(~0u, end, 31);
        continue;
      }
      const int lane = __ffs(static_cast<int>(is_behind)) - 1;
      found = of_lane(cursor, lane);
      found.offset = tile - __shfl_sync(~0u, end - cursor.num_tiles(args_), lane);
      return true;
    }
    return false;
  }

 private:
  __device__ static Cursor of_lane(const Cursor& cursor, int lane) {
    return {.seq = __shfl_sync(~0u, cursor.seq, lane),
            .context_length = __shfl_sync(~0u, cursor.context_length, lane),
            .first_query = __shfl_sync(~0u, cursor.first_query, lane),
            .num_queries = __shfl_sync(~0u, cursor.num_queries, lane),
            .tiles_per_head = __shfl_sync(~0u, cursor.tiles_per_head, lane)};
  }

  __device__ Cursor load(int first) const {
    Cursor cursor;
    cursor.seq = first + lane_index();
    if (cursor.seq < args_.num_seqs) cursor.load(args_);
    return cursor;
  }

  static constexpr int kOwn = 2;  // sequences that a lane keeps, read at once

  const AttentionArgs& args_;
  Cursor own_[kOwn];
  int num_tiles_ = 0;
};

// A warp that plans and loads. What it reads of the batch was there before the step, and so were keys and values of
// positions before the queries': these it reads, into the ring's first round, while the kernel before still runs. Where
// attention is not causal, nothing says which positions are old.
//
// Queuing a tile's copies takes a warp half a microsecond. So several warps each plan and queue one of the first
// tiles, and then one goes on.
template <bool kIsPlain>
class Loader {
  using Cursor = decode::Cursor<kIsPlain>;
  using Lengths = decode::Lengths<kIsPlain>;

 public:
  __device__ Loader(const AttentionArgs& args, const DecodeLayout& layout, const Ring& stages)
      : args_(args), layout_(layout), stages_(stages) {}

  // Finds the block's share. The ring need not be there yet.
  __device__ void plan() {
    const Lengths lengths(args_);
    shares_ = DecodeShares(lengths.num_tiles(), static_cast<int>(gridDim.x));
    begin_ = shares_.first_tile(static_cast<int>(blockIdx.x));
    end_ = shares_.first_tile(static_cast<int>(blockIdx.x) + 1);
    if (!args_.cuts_items) {
      begin_ = whole_items(begin_, lengths);
      end_ = whole_items(end_, lengths);
    }
    if (begin_ < end_ && lengths.find(begin_, cursor_)) {
      if (begin_ + tiles_ahead() < end_) cursor_.advance(args_, tiles_ahead());
      chunk_ = look_up(cursor_);
    }
  }

  // Loads one of the first tiles: of the warps from kLoader on, each the one of its number.
  __device__ void begin() const {
    if (begin_ < end_) {
      load_early();
    } else {
      wait_for_previous();
    }
  }

  // Loads all others.
  __device__ void run() {
    int num_loaded = num_early();
    stages_.advance(num_loaded);
    for (int first = begin_; first < end_; first += kTilesPerStep) {
      if (first + kTilesPerStep + tiles_ahead() < end_) cursor_.advance(args_, kTilesPerStep);
      const Chunk next = look_up(cursor_);  // what is read here is on its way while this step's tiles wait for stages
      for (int i = num_loaded; i < min(kTilesPerStep, end_ - first); ++i) {
        stages_.wait_until_free();
        __syncwarp();  // a lane that fell behind by a round of the ring would wait for a phase of the next
        if (tiles_ahead() == i) {
          announce(stages_, chunk_, first + i);
          load_queries(stages_, chunk_, first + i);
          load_positions(stages_, chunk_);
        }
        stages_.advance();
      }
      num_loaded = 0;
      chunk_ = next;
    }
    end_ring();
  }

 private:
  // The positions that a lane copies.
  struct Chunk {
    Cursor cursor;
    int kv_head = 0;
    int tile = 0;            // of its item
    int first_position = 0;  // of the sequence
    int num_positions = 0;   // of the sequence from there on
    int block = 0;           // of the cache

    // Whether no position is a query's.
    __device__ bool is_old(const AttentionArgs& args) const {
      if (!kIsPlain && !args.variant.is_causal) return false;
      return num_positions - cursor.num_queries >= min(num_positions, kDecodeChunk);
    }
  };

  __device__ static int index_in_tile() { return lane_index() % kDecodeChunks; }
  // A lane's tile is so many behind the first of a step.
  __device__ static int tiles_ahead() { return lane_index() / kDecodeChunks; }

  // The first tile of an item, not before `tile`.
  __device__ int whole_items(int tile, const Lengths& lengths) const {
    Cursor cursor;
    if (!lengths.find(tile, cursor)) return lengths.num_tiles();
    const int into_item = cursor.offset % cursor.tiles_per_head;
    return into_item == 0 ? tile : tile - into_item + cursor.tiles_per_head;
  }

  // Tiles of the first step that the ring has stages for.
  __device__ int num_early() const { return max(0, min(min(kTilesPerStep, stages_.num_places()), end_ - begin_)); }

  // Before the kernel before has ended and after.
  __device__ void load_early() const {
    const int own = warp_index() - kLoader;
    const bool is_own = tiles_ahead() == own && own < num_early();
    Ring stage = stages_;
    if (own < num_early()) stage.advance(own);
    if (is_own) {
      announce(stage, chunk_, begin_ + own);
      if (chunk_.is_old(args_)) load_positions(stage, chunk_);
    }
    wait_for_previous();
    if (is_own) {
      load_queries(stage, chunk_, begin_ + own);
      if (!chunk_.is_old(args_)) load_positions(stage, chunk_);
    }
  }

  // Without branches, so that nothing waits for the block table here.
  __device__ Chunk look_up(const Cursor& cursor) const {
    Chunk chunk;
    chunk.cursor = cursor;
    chunk.kv_head = cursor.offset / cursor.tiles_per_head;
    chunk.tile = cursor.offset - chunk.kv_head * cursor.tiles_per_head;
    chunk.first_position =
        (chunk.tile + cursor.first_visible(args_) / kDecodeTile) * kDecodeTile + index_in_tile() * kDecodeChunk;
    chunk.num_positions = cursor.context_length - chunk.first_position;
    const int index = chunk.num_positions > 0 ? chunk.first_position / args_.block_size : 0;
    chunk.block = args_.block_tables[cursor.seq * args_.block_table_stride + index];
    return chunk;
  }

  // Of queries to load with a tile.
  __device__ int num_query_rows(const Chunk& chunk, int tile) const {
    const bool is_first = tile == max(tile - chunk.tile, begin_);
    return is_first ? chunk.cursor.num_queries * args_.group_size : 0;
  }

  // Chunks of positions that no query sees, before the one at this position.
  __device__ int num_hidden(const Chunk& chunk) const {
    return kIsPlain ? 0 : max(0, chunk.cursor.first_visible(args_) - chunk.first_position) / kDecodeChunk;
  }

  // What comes, said by one of the lanes that have the chunks of a tile.
  __device__ void announce(const Ring& stage, const Chunk& chunk, int tile) const {
    if (index_in_tile() != 0) return;
    const Cursor& cursor = chunk.cursor;
    const int item = tile - chunk.tile;  // its first tile
    const int item_end = item + cursor.tiles_per_head;
    const int num_rows = num_query_rows(chunk, tile);
    const bool is_last = tile + 1 == min(item_end, end_);
    const int block = static_cast<int>(blockIdx.x);
    note_at(stage.place() + layout_.note()) = {
        .kind = (num_rows > 0 ? TileNote::kFirst : 0) | (is_last ? TileNote::kLast : 0),
        .num_positions = chunk.num_positions,
        .num_queries = cursor.num_queries,
        .first_query = cursor.first_query,
        .kv_head = chunk.kv_head,
        .place = args_.cuts_items ? shares_.place_of(block, item, item_end) : -1};
    const int num_positions = max(0, min(chunk.num_positions, kDecodeTile)) - num_hidden(chunk) * kDecodeChunk;
    stage.full().arrive_and_expect((2 * num_positions + num_rows) * layout_.row_bytes());
  }

  __device__ void load_queries(const Ring& stage, const Chunk& chunk, int tile) const {
    const int num_rows = num_query_rows(chunk, tile);
    for (int row = index_in_tile(); row < num_rows; row += kDecodeChunks) {
      const int64_t query = chunk.cursor.first_query + row / args_.group_size;
      const int64_t head = chunk.kv_head * args_.group_size + row % args_.group_size;
      copy_bulk(stage.place() + layout_.queries() + row * layout_.query_row_bytes(),
                static_cast<const char*>(args_.q) + (query * args_.q_stride + head * args_.q_head_stride) * 2,
                layout_.row_bytes(), stage.full());
    }
  }

  __device__ void load_positions(const Ring& stage, const Chunk& chunk) const {
    if (chunk.num_positions <= 0 || num_hidden(chunk) > 0) return;
    check_on_device(chunk.block >= 0 && chunk.block < args_.num_blocks);
    const int64_t row = (int64_t{chunk.block} * args_.num_kv_heads + chunk.kv_head) * args_.block_size +
                        chunk.first_position % args_.block_size;
    const int64_t offset = row * layout_.row_bytes();
    const int num_bytes = min(chunk.num_positions, kDecodeChunk) * layout_.row_bytes();
    char* const to = stage.place() + index_in_tile() * layout_.chunk_bytes();
    copy_bulk(to + layout_.keys(), static_cast<const char*>(args_.keys) + offset, num_bytes, stage.full());
    copy_bulk(to + layout_.values(), static_cast<const char*>(args_.values) + offset, num_bytes, stage.full());
  }

  __device__ void end_ring() const {
    stages_.wait_until_free();
    if (lane_index() != 0) return;
    note_at(stages_.place() + layout_.note()) = {.kind = TileNote::kEnd};
    stages_.full().arrive();
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  Ring stages_;
  DecodeShares shares_{0, 1};
  int begin_ = 0;
  int end_ = 0;
  Cursor cursor_;  // at the lane's tile of the step at hand, or of the one behind
  Chunk chunk_;
};

}  // namespace cohort::cuda::decode
