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

// The workspace: softmax states of parts of sequences, float32. A state is a row of values [head_dim], not yet divided
// by their sum, and behind all those rows a largest score and a sum of each.
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
