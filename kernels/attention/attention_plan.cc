#include "kernels/attention/attention_plan.h"

#include <algorithm>
#include <limits>

#include "kernels/attention/attention.h"

namespace cohort {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// States of runs beyond these are only asked for where there is work enough without cutting.
constexpr int64_t kMaxPartialRows = 1 << 16;

// No device has more multiprocessors.
constexpr int64_t kMaxDecodeBlocks = 256;

}  // namespace

int64_t attention_workspace_bytes(int64_t max_seqs, int64_t max_context_length, int64_t num_heads, int64_t head_dim) {
  const int64_t num_runs = max_seqs * num_heads * ceil_div(max_context_length, cuda::kRunLength);
  const cuda::PartialLayout runs{1, 1, 1, head_dim, std::min(num_runs, kMaxPartialRows)};
  const cuda::DecodeWorkspace shares{kMaxDecodeBlocks, cuda::kDecodeRows, static_cast<int>(head_dim)};
  return std::max(runs.num_bytes(), shares.num_bytes());
}

namespace cuda {
namespace {

constexpr int64_t kMaxDecodeRows = 64;
constexpr int64_t kMaxTiles = std::numeric_limits<int>::max() / 2;

// Of the cutting into runs, in runs' worth of time:
constexpr int64_t kStartCost = 1;  // until a block's first loads have come
constexpr int64_t kMergeCost = 1;  // of a second kernel that merges states
constexpr int64_t kMaxWaves = 4;

struct Split {
  int64_t num_splits;
  int64_t runs_per_split;
};

// Time in runs when every one of `num_units` is cut into `split`.
int64_t cost_of(const Split& split, int64_t num_units, int64_t num_slots) {
  const int64_t num_waves = ceil_div(num_units * split.num_splits, num_slots);
  return num_waves * (split.runs_per_split + kStartCost) + (split.num_splits > 1 ? kMergeCost : 0);
}

// The cheapest among the splits of `num_runs` that fill one, two, ... waves of blocks, and none.
Split choose_split(int64_t num_runs, int64_t num_units, int64_t num_slots) {
  Split best{1, num_runs};
  int64_t best_cost = cost_of(best, num_units, num_slots);
  for (int64_t num_waves = 1; num_waves <= kMaxWaves; ++num_waves) {
    const int64_t wanted = std::min(num_waves * num_slots / num_units, num_runs);
    if (wanted <= 1) continue;
    const int64_t runs_per_split = ceil_div(num_runs, wanted);
    const Split split{ceil_div(num_runs, runs_per_split), runs_per_split};
    const int64_t cost = cost_of(split, num_units, num_slots);
    if (cost < best_cost) {
      best = split;
      best_cost = cost;
    }
  }
  return best;
}

// Whether the kernel that divides on the device takes rows of so many queries.
bool can_share(const AttentionProblem& p, int64_t num_rows) {
  const int64_t max_tiles = p.num_seqs * p.num_kv_heads * ceil_div(p.table_positions, kDecodeTile);
  return p.has_bulk_copies && !p.deterministic && num_rows <= kDecodeRows && p.head_dim % 16 == 0 &&
         p.block_size % kDecodeChunk == 0 && p.num_multiprocessors <= kMaxDecodeBlocks && max_tiles <= kMaxTiles;
}

void choose_kernels(AttentionPlan& plan, const AttentionProblem& p) {
  const int64_t group_size = p.num_heads / p.num_kv_heads;
  const int64_t few_queries = std::clamp<int64_t>(kMaxDecodeRows / group_size, 1, 16);
  plan.runs_prefill = p.max_query_length > few_queries;
  // Without reading lengths: when the longest can only be as long as all are, none is short.
  const bool has_decodes = !plan.runs_prefill || p.num_tokens < p.num_seqs * p.max_query_length;
  if (has_decodes) {
    plan.max_decode_queries = plan.runs_prefill ? 1 : p.max_query_length;
    plan.decode = can_share(p, plan.max_decode_queries * group_size) ? DecodeKernel::kShares : DecodeKernel::kRuns;
  }
  const int64_t rows = prefill_rows(padded_dim(p.head_dim));
  plan.num_prefill_tiles = plan.runs_prefill ? p.num_tokens * group_size / rows + p.num_seqs : 0;
}

void choose_shares(AttentionPlan& plan, const AttentionProblem& p) {
  plan.num_blocks = p.num_multiprocessors;
  plan.cuts_items = decode_workspace(p, plan).num_bytes() <= p.workspace_bytes;
}

// That a sequence's queries see some of: with a window, most of a long context's blocks have nothing to do.
int64_t max_runs_seen(const AttentionProblem& p, const AttentionPlan& plan) {
  const int64_t num_runs = ceil_div(p.max_context_length, kRunLength);
  if (p.window == 0) return num_runs;
  return std::min(num_runs, ceil_div(p.window + plan.max_decode_queries - 1, kRunLength) + 1);
}

void choose_runs(AttentionPlan& plan, const AttentionProblem& p) {
  const int64_t num_rows = plan.max_decode_queries * (p.num_heads / p.num_kv_heads);
  plan.decode_rows = num_rows <= 16 && p.is_plain ? 16 : kMaxDecodeRows;
  plan.num_row_tiles = ceil_div(num_rows, plan.decode_rows);
  const TileLayout layout{padded_dim(p.head_dim), static_cast<int>(plan.decode_rows), false};
  const int64_t num_slots = std::max<int64_t>(1, p.num_multiprocessors * blocks_per_multiprocessor(layout));
  const int64_t num_units = p.num_seqs * p.num_kv_heads * plan.num_row_tiles;
  const int64_t num_runs = ceil_div(p.max_context_length, kRunLength);
  // Every run has a state of its own, however many a block goes through.
  plan.num_partials = num_runs;
  const bool fits = partial_layout(p, plan).num_bytes() <= p.workspace_bytes;
  const Split split = fits ? choose_split(max_runs_seen(p, plan), num_units, num_slots) : Split{1, num_runs};
  plan.runs_per_split = split.num_splits > 1 ? split.runs_per_split : num_runs;
  plan.num_splits = ceil_div(num_runs, plan.runs_per_split);
  plan.num_partials = plan.num_splits > 1 ? num_runs : 0;
}

}  // namespace

int64_t blocks_per_multiprocessor(const TileLayout& layout) {
  constexpr int64_t kSharedBytes = 228 * 1024;
  constexpr int64_t kReservedBytes = 1024;                                    // of each block's
  const int64_t by_registers = layout.dim > 128 || layout.rows > 16 ? 2 : 3;  // what the kernels are compiled for
  return std::max<int64_t>(1, std::min(kSharedBytes / (layout.num_bytes() + kReservedBytes), by_registers));
}

AttentionPlan plan_attention(const AttentionProblem& problem) {
  AttentionPlan plan;
  choose_kernels(plan, problem);
  if (plan.decode == DecodeKernel::kShares) choose_shares(plan, problem);
  if (plan.decode == DecodeKernel::kRuns) choose_runs(plan, problem);
  return plan;
}

PartialLayout partial_layout(const AttentionProblem& problem, const AttentionPlan& plan) {
  return {plan.max_decode_queries, problem.num_heads, plan.num_partials, problem.head_dim, problem.num_seqs};
}

DecodeWorkspace decode_workspace(const AttentionProblem& problem, const AttentionPlan& plan) {
  const int64_t num_rows = plan.max_decode_queries * (problem.num_heads / problem.num_kv_heads);
  return {static_cast<int>(plan.num_blocks), static_cast<int>(num_rows), static_cast<int>(problem.head_dim)};
}

}  // namespace cuda
}  // namespace cohort
