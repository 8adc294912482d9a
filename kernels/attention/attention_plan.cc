#include "kernels/attention/attention_plan.h"

#include <algorithm>

#include "kernels/attention/attention.h"

namespace cohort {
namespace {

constexpr int64_t kTilePositions = 64;  // the unit of work that costs are counted in, and of splits

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// More states than this are only asked for when hundreds of thousands of positions are attended to at once, and then
// there is work enough without cutting.
constexpr int64_t kMaxPartialRows = 1 << 18;

}  // namespace

int64_t attention_workspace_bytes(int64_t max_seqs, int64_t max_context_length, int64_t num_heads, int64_t head_dim) {
  const int64_t num_rows = max_seqs * num_heads * ceil_div(max_context_length, kTilePositions);
  const cuda::PartialLayout layout{1, 1, 1, head_dim, std::min(num_rows, kMaxPartialRows)};
  return layout.num_bytes();
}

namespace cuda {
namespace {

constexpr int64_t kMaxDecodeRows = 64;
constexpr int64_t kStartCost = 2;  // tiles' worth of time until a block's first loads have come
constexpr int64_t kMergeCost = 3;  // likewise of a second kernel that merges states
constexpr int64_t kMaxWaves = 4;

// Sequences along which the decode kernel goes, in pieces that are not cut.
struct Pieces {
  int64_t count;     // of the longest sequence
  int64_t length;    // positions
  int64_t max_cuts;  // splits that the workspace has room for
};

struct Split {
  int64_t num_splits;
  int64_t pieces_per_split;
};

// Time in tiles when every one of `num_units` is cut into `split`.
int64_t cost_of(const Split& split, const Pieces& pieces, int64_t num_units, int64_t num_slots) {
  const int64_t num_waves = ceil_div(num_units * split.num_splits, num_slots);
  const int64_t num_tiles = ceil_div(split.pieces_per_split * pieces.length, kTilePositions);
  return num_waves * (num_tiles + kStartCost) + (split.num_splits > 1 ? kMergeCost : 0);
}

// The cheapest among the splits that fill one, two, ... waves of blocks, and none.
Split choose_split(const Pieces& pieces, int64_t num_units, int64_t num_slots) {
  Split best{1, pieces.count};
  int64_t best_cost = cost_of(best, pieces, num_units, num_slots);
  for (int64_t num_waves = 1; num_waves <= kMaxWaves; ++num_waves) {
    const int64_t wanted = std::min({num_waves * num_slots / num_units, pieces.count, pieces.max_cuts});
    if (wanted <= 1) continue;
    const int64_t pieces_per_split = ceil_div(pieces.count, wanted);
    const Split split{ceil_div(pieces.count, pieces_per_split), pieces_per_split};
    const int64_t cost = cost_of(split, pieces, num_units, num_slots);
    if (cost < best_cost) {
      best = split;
      best_cost = cost;
    }
  }
  return best;
}

void choose_kernels(AttentionPlan& plan, const AttentionProblem& p) {
  const int64_t group_size = p.num_heads / p.num_kv_heads;
  const int64_t few_queries = std::clamp<int64_t>(kMaxDecodeRows / group_size, 1, 16);
  const bool has_prefills = p.max_query_length > few_queries;
  // Without reading lengths: when the longest can only be as long as all are, none is short.
  const bool has_decodes = !has_prefills || p.num_tokens < p.num_seqs * p.max_query_length;
  plan.runs_decode = has_decodes;
  plan.runs_prefill = has_prefills;
  if (has_decodes) plan.max_decode_queries = has_prefills ? 1 : p.max_query_length;
  const int64_t num_rows = std::max<int64_t>(plan.max_decode_queries, 1) * group_size;
  plan.decode_rows = num_rows <= 16 ? 16 : kMaxDecodeRows;
  plan.num_row_tiles = ceil_div(num_rows, plan.decode_rows);
  const int64_t rows = prefill_rows(padded_dim(p.head_dim));
  plan.num_prefill_tiles = has_prefills ? p.num_tokens * group_size / rows + p.num_seqs : 0;
}

void choose_runs(AttentionPlan& plan, const AttentionProblem& p) {
  const TileLayout layout{padded_dim(p.head_dim), static_cast<int>(plan.decode_rows), false};
  const int64_t num_slots = std::max<int64_t>(1, p.num_multiprocessors * blocks_per_multiprocessor(layout));
  const int64_t num_units = p.num_seqs * p.num_kv_heads * plan.num_row_tiles;
  const int64_t state_bytes =
      PartialLayout{plan.max_decode_queries, p.num_heads, 1, p.head_dim, p.num_seqs}.num_bytes();
  const int64_t max_partials = plan.runs_decode ? p.workspace_bytes / state_bytes : 0;

  Pieces pieces{};
  pieces.length = p.deterministic ? kRunLength : kTilePositions;
  pieces.count = ceil_div(p.max_context_length, pieces.length);
  // Deterministic, every piece has a state of its own, however many a block goes through.
  pieces.max_cuts = p.deterministic && max_partials < pieces.count ? 1 : std::max<int64_t>(1, max_partials);
  const Split split = plan.runs_decode ? choose_split(pieces, num_units, num_slots) : Split{1, pieces.count};
  plan.num_splits = split.num_splits;
  plan.run_length = p.deterministic ? pieces.length : split.pieces_per_split * pieces.length;
  plan.runs_per_split = p.deterministic ? split.pieces_per_split : 1;
  plan.num_partials = split.num_splits > 1 ? ceil_div(p.max_context_length, plan.run_length) : 0;
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
  choose_runs(plan, problem);
  return plan;
}

PartialLayout partial_layout(const AttentionProblem& problem, const AttentionPlan& plan) {
  return {plan.max_decode_queries, problem.num_heads, plan.num_partials, problem.head_dim, problem.num_seqs};
}

}  // namespace cuda
}  // namespace cohort
