// The warp of the decode kernel that finds its block's share of the work and loads it. Internal to this folder.
#pragma once

#include "kernels/attention/attention_decode.cuh"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda::decode {

constexpr int kTilesPerStep = 32 / kDecodeChunks;  // whose chunks the warp looks up at once, one a lane

// The sequence in which a tile lies, and where.
struct Cursor {
  int seq = 0;
  int context_length = 0;
  int first_query = 0;
  int num_queries = 0;
  int tiles_per_head = 0;  // 0 for a sequence that is not the decode kernel's
  int offset = 0;          // of the tile, from the first of the sequence

  __device__ void load(const AttentionArgs& args) {
    context_length = args.context_lengths[seq];
    first_query = args.query_starts[seq];
    num_queries = args.query_starts[seq + 1] - first_query;
    check_on_device(num_queries <= context_length || context_length == 0);
    check_on_device(context_length <= args.table_positions);
    tiles_per_head = num_queries > 0 && num_queries <= args.max_decode_queries ? decode_tiles(context_length) : 0;
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
class Lengths {
 public:
  __device__ explicit Lengths(const AttentionArgs& args) : args_(args) {
    int sum = 0;
    for (int first = 0; first < args.num_seqs; first += 32) {
      const Cursor cursor = load(first);
      if (first == 0) own_ = cursor;
      sum += cursor.num_tiles(args);
    }
    num_tiles_ = static_cast<int>(__reduce_add_sync(~0u, static_cast<unsigned>(sum)));
  }

  __device__ int num_tiles() const { return num_tiles_; }  // of all sequences

  // Sequence first + lane; one without tiles if there is none.
  __device__ Cursor load(int first) const {
    Cursor cursor;
    cursor.seq = first + lane_index();
    if (cursor.seq < args_.num_seqs) cursor.load(args_);
    return cursor;
  }

  // False if there are not so many tiles.
  __device__ bool find(int tile, Cursor& found) const {
    int before = 0;
    for (int first = 0; first < args_.num_seqs; first += 32) {
      const Cursor cursor = first == 0 ? own_ : load(first);
      const int end = before + warp_inclusive_sum(cursor.num_tiles(args_));
      const unsigned is_behind = __ballot_sync(~0u, tile < end);
      if (is_behind == 0) {
        before = __shfl_sync(~0u, end, 31);
        continue;
      }
      const int lane = __ffs(static_cast<int>(is_behind)) - 1;
      found.seq = first + lane;
      found.context_length = __shfl_sync(~0u, cursor.context_length, lane);
      found.first_query = __shfl_sync(~0u, cursor.first_query, lane);
      found.num_queries = __shfl_sync(~0u, cursor.num_queries, lane);
      found.tiles_per_head = __shfl_sync(~0u, cursor.tiles_per_head, lane);
      found.offset = tile - __shfl_sync(~0u, end - cursor.num_tiles(args_), lane);
      return true;
    }
    return false;
  }

 private:
  const AttentionArgs& args_;
  Cursor own_;
  int num_tiles_ = 0;
};

// The warp that plans and loads.
class Loader {
 public:
  __device__ Loader(const AttentionArgs& args, const DecodeLayout& layout, const Ring& ring)
      : args_(args), layout_(layout), ring_(ring) {}

  __device__ void run() {
    const Lengths lengths(args_);
    const DecodeShares shares(lengths.num_tiles(), static_cast<int>(gridDim.x));
    begin_ = shares.first_tile(static_cast<int>(blockIdx.x));
    end_ = shares.first_tile(static_cast<int>(blockIdx.x) + 1);
    if (!args_.cuts_items) {
      begin_ = whole_items(begin_, lengths);
      end_ = whole_items(end_, lengths);
    }
    if (args_.cuts_items) tell_of_none(lengths);
    Cursor cursor;
    if (begin_ < end_ && lengths.find(begin_, cursor)) load_tiles(cursor, shares);
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

  // As DecodeWorkspace says.
  __device__ bool has_few_items() const { return args_.num_seqs * args_.num_kv_heads < static_cast<int>(gridDim.x); }

  // What no tile is there to say.
  __device__ void tell_of_none(const Lengths& lengths) const {
    if (!has_few_items()) {
      if (begin_ == end_ && lane_index() == 0) tell(static_cast<int>(blockIdx.x), {});
    } else if (blockIdx.x == 0) {
      for (int first = 0; first < args_.num_seqs; first += 32) {
        const Cursor cursor = lengths.load(first);
        if (cursor.seq >= args_.num_seqs || cursor.tiles_per_head > 0) continue;
        for (int head = 0; head < args_.num_kv_heads; ++head) tell(cursor.seq * args_.num_kv_heads + head, {});
      }
    }
  }

  __device__ void tell(int i, const CutItem& item) const {
    *reinterpret_cast<CutItem*>(args_.workspace + args_.decode_workspace.cut_item(i)) = item;
  }

  __device__ void load_tiles(Cursor cursor, const DecodeShares& shares) {
    if (begin_ + tiles_ahead() < end_) cursor.advance(args_, tiles_ahead());
    Chunk chunk = look_up(cursor);
    for (int first = begin_; first < end_; first += kTilesPerStep) {
      if (first + kTilesPerStep + tiles_ahead() < end_) cursor.advance(args_, kTilesPerStep);
      const Chunk next = look_up(cursor);  // what is read here is on its way while this step's tiles wait for stages
      for (int i = 0; i < min(kTilesPerStep, end_ - first); ++i) {
        ring_.wait_until_free();
        __syncwarp();  // a lane that fell behind by a round of the ring would wait for a phase of the next
        if (tiles_ahead() == i) load_tile(chunk, first + i, shares);
        ring_.advance();
      }
      chunk = next;
    }
  }

  // Without branches, so that nothing waits for the block table here.
  __device__ Chunk look_up(const Cursor& cursor) const {
    Chunk chunk;
    chunk.cursor = cursor;
    chunk.kv_head = cursor.offset / cursor.tiles_per_head;
    chunk.tile = cursor.offset - chunk.kv_head * cursor.tiles_per_head;
    chunk.first_position = chunk.tile * kDecodeTile + index_in_tile() * kDecodeChunk;
    chunk.num_positions = cursor.context_length - chunk.first_position;
    const int index = chunk.num_positions > 0 ? chunk.first_position / args_.block_size : 0;
    chunk.block = args_.block_tables[cursor.seq * args_.block_table_stride + index];
    return chunk;
  }

  // Of a chunk, in bytes from the first of keys or values.
  __device__ int64_t offset_of(const Chunk& chunk) const {
    const int64_t row = (int64_t{chunk.block} * args_.num_kv_heads + chunk.kv_head) * args_.block_size +
                        chunk.first_position % args_.block_size;
    return row * layout_.row_bytes();
  }

  // By the lanes that have the chunks of one tile.
  __device__ void load_tile(const Chunk& chunk, int tile, const DecodeShares& shares) const {
    const Cursor& cursor = chunk.cursor;
    const int item = tile - chunk.tile;  // its first tile
    const bool is_first = tile == max(item, begin_);
    const int num_rows = is_first ? cursor.num_queries * args_.group_size : 0;  // of queries to load
    if (index_in_tile() == 0) {
      const int item_end = item + cursor.tiles_per_head;
      const bool is_last = tile + 1 == min(item_end, end_);
      const int block = static_cast<int>(blockIdx.x);
      ring_.note() = {.kind = (is_first ? TileNote::kFirst : 0) | (is_last ? TileNote::kLast : 0),
                      .num_positions = chunk.num_positions,
                      .num_queries = cursor.num_queries,
                      .first_query = cursor.first_query,
                      .kv_head = chunk.kv_head,
                      .place = args_.cuts_items ? shares.place_of(block, item, item_end) : -1};
      if (args_.cuts_items && (has_few_items() ? tile == item : tile + 1 == end_)) {
        tell(has_few_items() ? cursor.seq * args_.num_kv_heads + chunk.kv_head : block,
             {.num_states = shares.num_states(block, item, item_end),
              .first_block = block,
              .num_rows = cursor.num_queries * args_.group_size,
              .first_query = cursor.first_query,
              .kv_head = chunk.kv_head});
      }
      const int num_positions = max(0, min(chunk.num_positions, kDecodeTile));
      ring_.full().arrive_and_expect((2 * num_positions + num_rows) * layout_.row_bytes());
    }
    for (int row = index_in_tile(); row < num_rows; row += kDecodeChunks) {
      const int64_t query = cursor.first_query + row / args_.group_size;
      const int64_t head = chunk.kv_head * args_.group_size + row % args_.group_size;
      copy_bulk(ring_.stage() + layout_.queries() + row * layout_.query_row_bytes(),
                static_cast<const char*>(args_.q) + (query * args_.q_stride + head * args_.q_head_stride) * 2,
                layout_.row_bytes(), ring_.full());
    }
    if (chunk.num_positions <= 0) return;
    check_on_device(chunk.block >= 0 && chunk.block < args_.num_blocks);
    char* const to = ring_.stage() + index_in_tile() * layout_.chunk_bytes();
    const int num_bytes = min(chunk.num_positions, kDecodeChunk) * layout_.row_bytes();
    copy_bulk(to + layout_.keys(), static_cast<const char*>(args_.keys) + offset_of(chunk), num_bytes, ring_.full());
    copy_bulk(to + layout_.values(), static_cast<const char*>(args_.values) + offset_of(chunk), num_bytes,
              ring_.full());
  }

  __device__ void end_ring() const {
    ring_.wait_until_free();
    if (lane_index() != 0) return;
    ring_.note() = {.kind = TileNote::kEnd};
    ring_.full().arrive();
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  Ring ring_;
  int begin_ = 0;
  int end_ = 0;
};

}  // namespace cohort::cuda::decode
