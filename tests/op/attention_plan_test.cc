#include "kernels/attention/attention_plan.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "kernels/attention/attention.h"

namespace cohort::cuda {
namespace {

constexpr int64_t kNumMultiprocessors = 132;

AttentionProblem decode_problem(int64_t num_seqs, int64_t context, int64_t heads, int64_t kv_heads) {
  return {.num_seqs = num_seqs,
          .num_tokens = num_seqs,
          .max_query_length = 1,
          .max_context_length = context,
          .num_heads = heads,
          .num_kv_heads = kv_heads,
          .head_dim = 128,
          .num_multiprocessors = kNumMultiprocessors,
          .workspace_bytes = attention_workspace_bytes(num_seqs, context, heads, 128)};
}

std::string name_of(const AttentionProblem& p) {
  return std::to_string(p.num_seqs) + " sequences of " + std::to_string(p.max_query_length) + " queries, " +
         std::to_string(p.num_tokens) + " tokens, context " + std::to_string(p.max_context_length) + ", " +
         std::to_string(p.num_heads) + ":" + std::to_string(p.num_kv_heads) + " heads of " +
         std::to_string(p.head_dim) + (p.deterministic ? ", deterministic" : "");
}

template <typename F>
void for_each_problem(F&& body) {
  for (const int64_t num_seqs : {1, 2, 7, 64, 300}) {
    for (const int64_t context : {1, 63, 64, 65, 255, 256, 257, 1000, 8192, 32768, 131072}) {
      for (const int64_t kv_heads : {1, 4, 32}) {
        for (const int64_t group : {1, 5, 8, 71}) {
          for (const int64_t queries : {1, 3, 16, 700}) {
            for (const bool deterministic : {false, true}) {
              AttentionProblem p = decode_problem(num_seqs, context, kv_heads * group, kv_heads);
              p.max_query_length = std::min(queries, context);
              p.num_tokens = num_seqs == 1 ? p.max_query_length : p.max_query_length + num_seqs - 1;
              p.head_dim = group == 5 ? 256 : 128;
              p.deterministic = deterministic;
              SCOPED_TRACE(name_of(p));
              body(p);
            }
          }
        }
      }
    }
  }
}

TEST(AttentionPlan, SplitsAreWholeRunsAndCoverTheContext) {
  for_each_problem([](const AttentionProblem& p) {
    const AttentionPlan plan = plan_attention(p);
    const int64_t split_length = plan.run_length * plan.runs_per_split;
    EXPECT_EQ(plan.run_length % tile_positions(padded_dim(p.head_dim)), 0);
    EXPECT_GE(plan.num_splits * split_length, p.max_context_length);
    EXPECT_LT((plan.num_splits - 1) * split_length, p.max_context_length);  // none is idle
    if (p.deterministic) {
      EXPECT_EQ(plan.run_length, kRunLength);
    }
    if (plan.num_splits == 1) {
      EXPECT_EQ(plan.num_partials, 0);
    } else {
      EXPECT_GE(plan.num_partials, plan.num_splits);
      EXPECT_GE(plan.num_partials * plan.run_length, p.max_context_length);
      EXPECT_LT((plan.num_partials - 1) * plan.run_length, p.max_context_length);
    }
  });
}

TEST(AttentionPlan, PartialsFitTheWorkspaceWhateverItsSize) {
  for_each_problem([](const AttentionProblem& problem) {
    for (const int64_t num_bytes : {int64_t{0}, int64_t{4096}, int64_t{1} << 20, problem.workspace_bytes}) {
      AttentionProblem p = problem;
      p.workspace_bytes = num_bytes;
      const AttentionPlan plan = plan_attention(p);
      if (plan.num_partials == 0) continue;
      EXPECT_LE(partial_layout(p, plan).num_bytes(), num_bytes);
    }
  });
}

TEST(AttentionPlan, EverySequenceHasAKernel) {
  for_each_problem([](const AttentionProblem& p) {
    const AttentionPlan plan = plan_attention(p);
    EXPECT_TRUE(plan.runs_decode || plan.runs_prefill);
    EXPECT_TRUE(plan.runs_prefill || p.max_query_length <= plan.max_decode_queries);
    // A sequence of fewer queries than the longest may be there unless they would not add up.
    EXPECT_TRUE(plan.runs_decode || p.num_tokens == p.num_seqs * p.max_query_length);
    if (plan.runs_decode) {
      EXPECT_GE(plan.max_decode_queries, 1);
      EXPECT_GE(plan.num_row_tiles * plan.decode_rows, plan.max_decode_queries * (p.num_heads / p.num_kv_heads));
    }
  });
}

TEST(AttentionPlan, OneLongSequenceKeepsEveryMultiprocessorBusy) {
  for (const int64_t kv_heads : {1, 4, 8, 32}) {
    for (const bool deterministic : {false, true}) {
      for (const int64_t context : {32768, 131072}) {
        AttentionProblem p = decode_problem(1, context, 32, kv_heads);
        p.deterministic = deterministic;
        SCOPED_TRACE(name_of(p));
        const AttentionPlan plan = plan_attention(p);
        const int64_t num_pieces = context / (deterministic ? kRunLength : 64);
        EXPECT_GE(plan.num_splits * kv_heads, std::min(kNumMultiprocessors, num_pieces * kv_heads));
      }
    }
  }
}

TEST(AttentionPlan, ABatchThatFillsTheDeviceIsNotCut) {
  EXPECT_EQ(plan_attention(decode_problem(256, 1024, 32, 32)).num_splits, 1);
  EXPECT_EQ(plan_attention(decode_problem(1, 64, 32, 32)).num_splits, 1);
}

TEST(AttentionPlan, DeterministicRunsDoNotDependOnTheLoad) {
  std::set<int64_t> run_lengths;
  for_each_problem([&](const AttentionProblem& p) {
    if (p.deterministic) run_lengths.insert(plan_attention(p).run_length);
  });
  EXPECT_EQ(run_lengths, std::set<int64_t>{kRunLength});
}

TEST(AttentionPlan, BlocksFitTheSharedMemory) {
  constexpr int64_t kMaxSharedBytes = 227 * 1024;  // of one block, on Hopper
  for (const int64_t head_dim : {8, 64, 72, 96, 104, 128, 136, 256}) {
    const int dim = padded_dim(head_dim);
    EXPECT_GE(dim, head_dim);
    EXPECT_EQ(kRunLength % tile_positions(dim), 0);
    for (const int rows : {16, 64, prefill_rows(dim)}) {
      for (const bool folds : {false, true}) {
        const TileLayout layout{dim, rows, folds};
        EXPECT_LE(layout.num_bytes(), kMaxSharedBytes) << dim << ", " << rows << " rows";
        EXPECT_EQ(layout.totals() % 16, 0);
        EXPECT_EQ(layout.keys(0) % 16, 0);
        EXPECT_GE(blocks_per_multiprocessor(layout), 1);
      }
    }
  }
}

TEST(AttentionPlan, PartialsDoNotOverlap) {
  const PartialLayout layout{.max_queries = 3, .num_heads = 5, .num_partials = 4, .head_dim = 24, .num_seqs = 2};
  std::set<int64_t> floats;
  for (int64_t seq = 0; seq < 2; ++seq) {
    for (int64_t query = 0; query < 3; ++query) {
      for (int64_t head = 0; head < 5; ++head) {
        for (int64_t row = layout.row(seq, query, head); row < layout.row(seq, query, head) + 4; ++row) {
          for (int64_t d = 0; d < 24; ++d) floats.insert(layout.values(row) + d);
          for (int64_t i = 0; i < 2; ++i) floats.insert(layout.max_and_sum(row) + i);
        }
      }
    }
  }
  EXPECT_EQ(static_cast<int64_t>(floats.size()), 2 * 3 * 5 * 4 * 26);
  EXPECT_EQ(*floats.begin(), 0);
  EXPECT_EQ((*floats.rbegin() + 1) * 4, layout.num_bytes());
}

TEST(AttentionPlan, AWorkspaceIsBounded) {
  EXPECT_EQ(attention_workspace_bytes(1, 256, 8, 128), 4 * 8 * 130 * 4);
  EXPECT_EQ(attention_workspace_bytes(2, 257, 8, 128), 2 * 5 * 8 * 130 * 4);
  EXPECT_LE(attention_workspace_bytes(4096, 1 << 20, 128, 128), int64_t{1} << 28);
}

}  // namespace
}  // namespace cohort::cuda
