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
  bool deterministic = false;
  int64_t num_multiprocessors = 0;
  int64_t workspace_bytes = 0;
};

// Two kernels: sequences with few queries go to the one that cuts them along their positions as well ("decode"), the
// others to the one that cuts along queries only ("prefill"). A (query, head) pair is a row; the rows of a KV head
// share its loads.
struct AttentionPlan {
  bool runs_decode = false;
  bool runs_prefill = false;
  int64_t max_decode_queries = 0;  // sequences with at most so many are the decode kernel's
  int64_t decode_rows = 0;         // of a block of the decode kernel: 16 or 64
  int64_t num_row_tiles = 0;       // blocks of the decode kernel that a KV head's rows fill
  int64_t run_length = 0;          // positions of one softmax state; states of a sequence are merged in order
  int64_t runs_per_split = 0;      // runs that a block of the decode kernel goes through
  int64_t num_splits = 0;          // blocks along the positions of the longest sequence
  int64_t num_partials = 0;        // runs of the longest sequence that are merged through the workspace; 0 for none
  int64_t num_prefill_tiles = 0;   // blocks along the queries of all sequences, at most
};

// Requires num_seqs, num_tokens and the maximal lengths of at least 1, and head_dim up to kMaxTileDim.
AttentionPlan plan_attention(const AttentionProblem& problem);

PartialLayout partial_layout(const AttentionProblem& problem, const AttentionPlan& plan);

// Blocks of the tiled kernels that a multiprocessor of Hopper holds at once.
int64_t blocks_per_multiprocessor(const TileLayout& layout);

}  // namespace cohort::cuda
