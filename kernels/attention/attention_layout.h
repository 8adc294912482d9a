// Where the CUDA backend keeps what it keeps: the shared memory of a block, the workspace. Internal to this folder; the
// host sizes by these and the device indexes by them.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define COHORT_HOST_DEVICE __host__ __device__
#else
#define COHORT_HOST_DEVICE
#endif

namespace cohort::cuda {

inline constexpr int kNumTileThreads = 128;  // four warps load; those that have rows compute
inline constexpr int kMaxTileDim = 256;

// In deterministic mode softmax states are of runs of so many positions, which begin at its multiples.
inline constexpr int64_t kRunLength = 256;

// The width that rows of `head_dim` have in shared memory: the kernels' template argument.
COHORT_HOST_DEVICE constexpr int padded_dim(int64_t head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 96 ? 96 : head_dim <= 128 ? 128 : 256;
}

// Positions whose scores are softmaxed together. It depends on the dimension alone, because bits depend on it.
COHORT_HOST_DEVICE constexpr int tile_positions(int dim) { return dim > 128 ? 32 : 64; }

// Rows of queries in a block of the prefill kernel: two tensor core tiles a warp where the registers suffice.
COHORT_HOST_DEVICE constexpr int prefill_rows(int dim) { return dim > 128 ? 64 : 128; }

// Shared memory of a block, in bytes: queries, two stages of keys and values, and, when states of runs are folded, each
// thread's part of the total.
struct TileLayout {
  int dim;   // padded
  int rows;  // of queries
  bool folds;

  // 16 bytes more than the row make the eight rows of an ldmatrix begin in eight different groups of banks.
  COHORT_HOST_DEVICE constexpr int row_elements() const { return dim + 8; }
  COHORT_HOST_DEVICE constexpr int query_bytes() const { return rows * row_elements() * 2; }
  COHORT_HOST_DEVICE constexpr int tile_bytes() const { return tile_positions(dim) * row_elements() * 2; }
  COHORT_HOST_DEVICE constexpr int keys(int stage) const { return query_bytes() + stage * 2 * tile_bytes(); }
  COHORT_HOST_DEVICE constexpr int values(int stage) const { return keys(stage) + tile_bytes(); }
  // Where the positions of a stage are in the cache, int32 each.
  COHORT_HOST_DEVICE constexpr int units(int stage) const { return keys(2) + stage * tile_positions(dim) * 4; }
  // float4s, [dim / 8 + 1 for each tensor core tile of a warp, thread]
  COHORT_HOST_DEVICE constexpr int totals() const { return units(2); }
  COHORT_HOST_DEVICE constexpr int num_bytes() const { return totals() + (folds ? rows * (dim / 8 + 1) * 32 : 0); }
};

// The decode kernel's unit of work is a tile: so many positions of one sequence and KV head, each warp's share of which
// is as many as a tensor core product takes. Copies are of chunks of positions, which must lie in one block of the
// cache.
inline constexpr int kDecodeRows = 16;  // of a KV head in one tensor core tile
inline constexpr int kDecodeTile = 64;
inline constexpr int kDecodeChunk = 8;
inline constexpr int kDecodeChunks = kDecodeTile / kDecodeChunk;
inline constexpr int kDecodeWarps = 4;  // that attend; others load and store

// Tiles of a sequence and KV head. One without positions has one as well, so that its output is written.
COHORT_HOST_DEVICE constexpr int decode_tiles(int context_length) {
  return context_length <= kDecodeTile ? 1 : (context_length - 1) / kDecodeTile + 1;
}

// How blocks divide the tiles of all sequences and KV heads, which are numbered sequence by sequence, KV head by KV
// head (an item), position by position: block b has the `share` tiles from first_tile(b) on. An item that no block has
// whole leaves a softmax state with each block that has some of it, the first of them in the block's second place, the
// others in their first: a block ends inside of one item at most, and begins inside of one.
struct DecodeShares {
  int num_tiles;
  int share;

  COHORT_HOST_DEVICE constexpr DecodeShares(int tiles, int num_blocks)
      : num_tiles(tiles), share(tiles > num_blocks ? (tiles - 1) / num_blocks + 1 : 1) {}

  COHORT_HOST_DEVICE constexpr int first_tile(int block) const {
    return int64_t{block} * share < num_tiles ? block * share : num_tiles;
  }
  COHORT_HOST_DEVICE constexpr int block_of(int tile) const { return tile / share; }
  // Where block `block` leaves its state of the item of tiles [begin, end); -1 if it has the item whole.
  COHORT_HOST_DEVICE constexpr int place_of(int block, int begin, int end) const {
    const bool is_whole = begin >= first_tile(block) && end <= first_tile(block + 1);
    return is_whole ? -1 : 2 * block + (begin < first_tile(block) ? 0 : 1);
  }
  // How many blocks have some of the item of tiles [begin, end), asked by the block that it begins in; 0 if that one
  // has it whole, and for any other block.
  COHORT_HOST_DEVICE constexpr int num_states(int block, int begin, int end) const {
    const bool begins_here = first_tile(block) <= begin && begin < first_tile(block + 1);
    return begins_here && end > first_tile(block + 1) ? block_of(end - 1) - block + 1 : 0;
  }
};

// A ring of places in shared memory, in bytes, each with two barriers: it is full, it is free.
struct RingLayout {
  int first_barrier;
  int first_place;
  int place_bytes;
  int num_places;

  COHORT_HOST_DEVICE constexpr int full(int i) const { return first_barrier + i * 16; }
  COHORT_HOST_DEVICE constexpr int free(int i) const { return first_barrier + i * 16 + 8; }
  COHORT_HOST_DEVICE constexpr int place(int i) const { return first_place + i * place_bytes; }
  COHORT_HOST_DEVICE constexpr int end() const { return place(num_places); }
};

// Shared memory of a block of the decode kernel, in bytes: a ring of stages with queries, keys and values of a tile
// each, and one of results with the states of an item that the warps came to. Both have a note of 32 bytes.
struct DecodeLayout {
  int head_dim;
  int max_rows;  // of a KV head, at most kDecodeRows

  COHORT_HOST_DEVICE constexpr int row_bytes() const { return head_dim * 2; }
  // A matrix of the tensor cores takes one position of each chunk: 16 bytes more than the chunk make them begin in
  // eight different groups of banks.
  COHORT_HOST_DEVICE constexpr int chunk_bytes() const { return kDecodeChunk * row_bytes() + 16; }
  COHORT_HOST_DEVICE constexpr int query_row_bytes() const { return row_bytes() + 16; }
  COHORT_HOST_DEVICE constexpr int keys() const { return 0; }  // within a stage
  COHORT_HOST_DEVICE constexpr int values() const { return kDecodeChunks * chunk_bytes(); }
  COHORT_HOST_DEVICE constexpr int queries() const { return 2 * values(); }
  COHORT_HOST_DEVICE constexpr int note() const { return queries() + max_rows * query_row_bytes(); }
  COHORT_HOST_DEVICE constexpr int stage_bytes() const { return note() + kNoteBytes; }

  // A row of a warp's state, within a result: float32 values, the largest score and the sum. Four floats more than
  // values make every other row, which are written together, begin in different groups of banks.
  COHORT_HOST_DEVICE constexpr int state_row(int warp, int row) const {
    return kNoteBytes + (warp * max_rows + row) * (head_dim + 4) * 4;
  }
  COHORT_HOST_DEVICE constexpr int max_and_sum() const { return head_dim * 4; }  // within the row

  COHORT_HOST_DEVICE constexpr RingLayout results() const {
    return {0, kBarrierBytes, state_row(kDecodeWarps, 0), max_rows > 8 ? 1 : 2};
  }
  // With heads of 128, 96 KB are on their way while two tiles are attended to.
  COHORT_HOST_DEVICE constexpr RingLayout stages() const {
    const int first = results().end();
    const int fitting = (kMaxSharedBytes - first) / stage_bytes();
    const int wanted = (kRingBytes - 1) / stage_bytes() + 1;
    const int count = wanted < kMaxStages ? wanted : kMaxStages;
    return {kBarrierBytes / 4, first, stage_bytes(), count < fitting ? count : fitting};
  }
  // Never so few that a multiprocessor takes two blocks: then blocks of the next launch, which begin as these leave,
  // would be two on some multiprocessors and none on others.
  COHORT_HOST_DEVICE constexpr int num_bytes() const {
    const int end = stages().end();
    return end > kMaxSharedBytes / 2 + 1024 ? end : kMaxSharedBytes / 2 + 1024;
  }

  static constexpr int kMaxSharedBytes = 227 * 1024;  // of a block of sm_90
  static constexpr int kRingBytes = 160 * 1024;
  static constexpr int kMaxStages = 8;
  static constexpr int kBarrierBytes = 256;
  static constexpr int kNoteBytes = 32;
};

// The decode kernel's workspace: two states of each block, float32, of a KV head's rows each.
struct DecodeWorkspace {
  int num_blocks;
  int max_rows;
  int head_dim;

  COHORT_HOST_DEVICE constexpr int64_t num_rows() const { return int64_t{2} * num_blocks * max_rows; }
  COHORT_HOST_DEVICE constexpr int64_t row(int place, int row) const { return int64_t{place} * max_rows + row; }
  COHORT_HOST_DEVICE constexpr int64_t max_and_sum(int64_t row) const { return row * 2; }  // in floats, as all
  COHORT_HOST_DEVICE constexpr int64_t values(int64_t row) const { return num_rows() * 2 + row * head_dim; }
  COHORT_HOST_DEVICE constexpr int64_t num_bytes() const { return values(num_rows()) * 4; }
};

// The workspace of the kernel that goes by runs: softmax states of parts of sequences, float32. A state is a row of
// values [head_dim], not yet divided by their sum, and behind all those rows a largest score and a sum of each.
struct PartialLayout {
  int64_t max_queries;  // of a sequence
  int64_t num_heads;
  int64_t num_partials;  // of a sequence, at most
  int64_t head_dim;
  int64_t num_seqs;

  COHORT_HOST_DEVICE int64_t num_rows() const { return num_seqs * max_queries * num_heads * num_partials; }
  // Partials of one query and head follow each other.
  COHORT_HOST_DEVICE int64_t row(int64_t seq, int64_t query, int64_t head) const {
    return ((seq * max_queries + query) * num_heads + head) * num_partials;
  }
  COHORT_HOST_DEVICE int64_t values(int64_t row) const { return row * head_dim; }
  COHORT_HOST_DEVICE int64_t max_and_sum(int64_t row) const { return num_rows() * head_dim + row * 2; }
  COHORT_HOST_DEVICE int64_t num_bytes() const { return num_rows() * (head_dim + 2) * 4; }
};

}  // namespace cohort::cuda
