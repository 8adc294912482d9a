// How the CUDA backend cuts a step's attention into blocks: pure host functions of what the host knows. Internal to
// this folder and its tests.
#pragma once

#include <cstdint>

#include "kernels/attention/attention_layout.h"

namespace cohort::cuda {

struct AttentionProblem {
  int64_t num_seqs = 0;
  int64_t num_tokens = 0;
  int64_t max_query_length = 0;
  int64_t max_context_length = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t block_size = 0;
  int64_t table_positions = 0;  // that the block table of a sequence has room for
  bool deterministic = false;
  bool is_plain = true;         // AttentionArgs::is_plain
  int64_t window = 0;           // positions that a query sees at most; 0: as many as there are
  bool has_bulk_copies = true;  // the device, and the code for it: Hopper's
  int64_t num_multiprocessors = 0;
  int64_t workspace_bytes = 0;
};

// What attends to sequences with few queries. A (query, head) pair is a row; the rows of a KV head share its loads.
enum class DecodeKernel {
  kNone,    // there are none
  kShares,  // divides the work on the device; nothing of its launch depends on contexts
  kRuns,    // cuts contexts into runs on the host, for the longest; deterministic, and takes what kShares does not
};

// Sequences with more queries go to the "prefill" kernel, which cuts along queries only.
struct AttentionPlan {
  DecodeKernel decode = DecodeKernel::kNone;
  bool runs_prefill = false;
  int64_t max_decode_queries = 0;  // sequences with at most so many are the decode kernel's
  int64_t num_prefill_tiles = 0;   // blocks along the queries of all sequences, at most

  // Of kShares:
  int64_t num_blocks = 0;
  bool cuts_items = false;  // the workspace holds the states of sequences that several blocks share

  // Of kRuns:
  int64_t decode_rows = 0;     // of a block: 64, or in plain attention 16
  int64_t num_row_tiles = 0;   // blocks that a KV head's rows fill
  int64_t runs_per_split = 0;  // runs of kRunLength positions that a block goes through
  int64_t num_splits = 0;      // blocks along the positions of the longest sequence
  int64_t num_partials = 0;    // runs of the longest sequence that are merged through the workspace; 0 for none
};

// Requires num_seqs, num_tokens and the maximal lengths of at least 1, and head_dim up to kMaxTileDim.
AttentionPlan plan_attention(const AttentionProblem& problem);

// The workspace of kRuns and of kShares.
PartialLayout partial_layout(const AttentionProblem& problem, const AttentionPlan& plan);
DecodeWorkspace decode_workspace(const AttentionProblem& problem, const AttentionPlan& plan);

// Blocks of the tiled kernels with a TileLayout that a multiprocessor of Hopper holds at once.
int64_t blocks_per_multiprocessor(const TileLayout& layout);

}  // namespace cohort::cuda
