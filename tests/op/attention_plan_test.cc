#include "kernels/attention/attention_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

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
          .block_size = 16,
          .table_positions = context + 15,
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
  const auto expect_covered = [](const AttentionProblem& p) {
    const AttentionPlan plan = plan_attention(p);
    if (plan.decode != DecodeKernel::kRuns) return;
    const int64_t split_length = kRunLength * plan.runs_per_split;
    EXPECT_GE(plan.num_splits * split_length, p.max_context_length);
    EXPECT_LT((plan.num_splits - 1) * split_length, p.max_context_length);  // none is idle
    if (plan.num_splits == 1) {
      EXPECT_EQ(plan.num_partials, 0);
    } else {
      EXPECT_GE(plan.num_partials, plan.num_splits);
      EXPECT_GE(plan.num_partials * kRunLength, p.max_context_length);
      EXPECT_LT((plan.num_partials - 1) * kRunLength, p.max_context_length);
    }
  };
  for_each_problem([&](AttentionProblem p) {
    expect_covered(p);
    p.is_plain = false;
    for (const int64_t window : {0, 1, 1000}) {
      p.window = window < p.max_context_length ? window : 0;
      expect_covered(p);
    }
  });
}

// Splits of the whole context would leave it to two blocks of a KV head, at most, to go through all that a query sees.
TEST(AttentionPlan, SplitsAreOfWhatAWindowShows) {
  AttentionProblem p = decode_problem(1, 131072, 8, 8);
  p.deterministic = true;
  p.is_plain = false;
  p.window = 4096;
  EXPECT_EQ(plan_attention(p).runs_per_split, 1);
  p.window = 0;
  EXPECT_EQ(plan_attention(p).runs_per_split, 4096 / kRunLength);
}

TEST(AttentionPlan, OnlyPlainAttentionHasAKernelForFewRows) {
  AttentionProblem p = decode_problem(4, 1000, 8, 8);
  p.deterministic = true;
  EXPECT_EQ(plan_attention(p).decode_rows, 16);
  p.is_plain = false;
  EXPECT_EQ(plan_attention(p).decode_rows, 64);
}

TEST(AttentionPlan, StatesFitTheWorkspaceWhateverItsSize) {
  for_each_problem([](const AttentionProblem& problem) {
    for (const int64_t num_bytes : {int64_t{0}, int64_t{4096}, int64_t{1} << 20, problem.workspace_bytes}) {
      AttentionProblem p = problem;
      p.workspace_bytes = num_bytes;
      const AttentionPlan plan = plan_attention(p);
      if (plan.num_partials > 0) {
        EXPECT_LE(partial_layout(p, plan).num_bytes(), num_bytes);
      }
      if (plan.cuts_items) {
        EXPECT_LE(decode_workspace(p, plan).num_bytes(), num_bytes);
      }
    }
    const AttentionPlan plan = plan_attention(problem);
    EXPECT_TRUE(plan.decode != DecodeKernel::kShares || plan.cuts_items);  // there is room in what was asked for
  });
}

TEST(AttentionPlan, EverySequenceHasAKernel) {
  for_each_problem([](const AttentionProblem& p) {
    const AttentionPlan plan = plan_attention(p);
    const bool runs_decode = plan.decode != DecodeKernel::kNone;
    EXPECT_TRUE(runs_decode || plan.runs_prefill);
    EXPECT_TRUE(plan.runs_prefill || p.max_query_length <= plan.max_decode_queries);
    // A sequence of fewer queries than the longest may be there unless they would not add up.
    EXPECT_TRUE(runs_decode || p.num_tokens == p.num_seqs * p.max_query_length);
    if (runs_decode) {
      EXPECT_GE(plan.max_decode_queries, 1);
    }
    if (plan.decode == DecodeKernel::kRuns) {
      EXPECT_GE(plan.num_row_tiles * plan.decode_rows, plan.max_decode_queries * (p.num_heads / p.num_kv_heads));
    }
    if (plan.decode == DecodeKernel::kShares) {
      EXPECT_LE(plan.max_decode_queries * (p.num_heads / p.num_kv_heads), kDecodeRows);
    }
  });
}

TEST(AttentionPlan, WithoutBulkCopiesThereAreRuns) {
  for_each_problem([](AttentionProblem p) {
    p.has_bulk_copies = false;
    EXPECT_NE(plan_attention(p).decode, DecodeKernel::kShares);
  });
}

TEST(AttentionPlan, FastDecodesDoNotDependOnTheContext) {
  for_each_problem([](const AttentionProblem& problem) {
    if (problem.max_query_length > 1) return;
    AttentionProblem p = problem;
    p.max_context_length = 1;
    const AttentionPlan one = plan_attention(p);
    const AttentionPlan other = plan_attention(problem);
    EXPECT_EQ(one.decode, other.decode);
    EXPECT_EQ(one.decode == DecodeKernel::kShares, !p.deterministic && p.num_heads / p.num_kv_heads <= kDecodeRows);
    EXPECT_EQ(one.num_blocks, other.num_blocks);
    EXPECT_EQ(one.cuts_items, other.cuts_items);
  });
}

TEST(AttentionPlan, OneLongSequenceKeepsEveryMultiprocessorBusy) {
  for (const int64_t kv_heads : {1, 4, 8, 32}) {
    for (const int64_t context : {32768, 131072}) {
      AttentionProblem p = decode_problem(1, context, 32, kv_heads);
      p.deterministic = true;
      SCOPED_TRACE(name_of(p));
      const AttentionPlan plan = plan_attention(p);
      EXPECT_GE(plan.num_splits * kv_heads, std::min(kNumMultiprocessors, context / kRunLength * kv_heads));
    }
  }
}

TEST(AttentionPlan, ABatchThatFillsTheDeviceIsNotCut) {
  for (const auto& [num_seqs, context] : {std::pair{256, 1024}, std::pair{1, 64}}) {
    AttentionProblem p = decode_problem(num_seqs, context, 32, 32);
    p.deterministic = true;
    EXPECT_EQ(plan_attention(p).num_splits, 1);
  }
}

// Contexts of a batch, and KV heads.
struct Load {
  std::vector<int> contexts;
  int num_kv_heads;

  // First tiles of the items, and their end.
  std::vector<int> item_starts() const {
    std::vector<int> starts = {0};
    for (const int context : contexts) {
      for (int head = 0; head < num_kv_heads; ++head) starts.push_back(starts.back() + decode_tiles(context));
    }
    return starts;
  }
};

std::vector<Load> loads() {
  std::vector<Load> loads = {{{1}, 1},         {{0}, 3},          {{64}, 8},           {{65}, 8},
                             {{1024}, 8},      {{1024}, 40},      {{131072}, 1},       {{131072, 1}, 1},
                             {{1, 131072}, 2}, {{0, 0, 5000}, 8}, {{4096, 100, 1}, 40}};
  std::mt19937 random(1);
  for (int i = 0; i < 50; ++i) {
    Load load{{}, static_cast<int>(random() % 9) + 1};
    const int num_seqs = static_cast<int>(random() % 100) + 1;
    const auto longest = static_cast<uint32_t>(1) << (random() % 15);
    for (int seq = 0; seq < num_seqs; ++seq) load.contexts.push_back(static_cast<int>(random() % longest));
    loads.push_back(load);
  }
  return loads;
}

TEST(DecodeShares, TilesOfAContext) {
  EXPECT_EQ(decode_tiles(0), 1);
  EXPECT_EQ(decode_tiles(1), 1);
  EXPECT_EQ(decode_tiles(kDecodeTile), 1);
  EXPECT_EQ(decode_tiles(kDecodeTile + 1), 2);
  EXPECT_EQ(decode_tiles(10 * kDecodeTile), 10);
}

TEST(DecodeShares, EveryTileHasOneBlockAndNoBlockTooMany) {
  for (const Load& load : loads()) {
    for (const int num_blocks : {1, 7, 132, 256}) {
      const int num_tiles = load.item_starts().back();
      const DecodeShares shares(num_tiles, num_blocks);
      EXPECT_EQ(shares.first_tile(0), 0);
      EXPECT_EQ(shares.first_tile(num_blocks), num_tiles);
      for (int block = 0; block < num_blocks; ++block) {
        const int count = shares.first_tile(block + 1) - shares.first_tile(block);
        EXPECT_GE(count, 0);
        EXPECT_LE(count, (num_tiles + num_blocks - 1) / num_blocks);
        for (int tile = shares.first_tile(block); tile < shares.first_tile(block + 1); ++tile) {
          EXPECT_EQ(shares.block_of(tile), block);
        }
      }
    }
  }
}

TEST(DecodeShares, AStateForEachBlockOfACutItemAndOneBlockThatSpeaksForIt) {
  for (const Load& load : loads()) {
    for (const int num_blocks : {1, 7, 132, 256}) {
      const std::vector<int> starts = load.item_starts();
      const DecodeShares shares(starts.back(), num_blocks);
      std::set<int> places;
      for (size_t i = 0; i + 1 < starts.size(); ++i) {
        const int begin = starts[i];
        const int end = starts[i + 1];
        const int first = shares.block_of(begin);
        const int last = shares.block_of(end - 1);
        int num_speakers = 0;
        for (int block = 0; block < num_blocks; ++block) {
          const int num_states = shares.num_states(block, begin, end);
          if (num_states == 0) continue;
          ++num_speakers;
          EXPECT_EQ(block, first);
          EXPECT_EQ(num_states, last - first + 1);
        }
        EXPECT_EQ(num_speakers, first == last ? 0 : 1);
        for (int block = first; block <= last; ++block) {
          const int place = shares.place_of(block, begin, end);
          if (first == last) {
            EXPECT_EQ(place, -1);
          } else {
            EXPECT_EQ(place, block == first ? 2 * block + 1 : 2 * block);
            EXPECT_TRUE(places.insert(place).second) << "two states in one place";
          }
        }
      }
    }
  }
}

TEST(DecodeLayout, FitsTheSharedMemory) {
  for (const int head_dim : {16, 64, 80, 96, 128, 192, 256}) {
    for (const int max_rows : {1, 8, 9, kDecodeRows}) {
      const DecodeLayout layout{head_dim, max_rows};
      const RingLayout stages = layout.stages();
      const RingLayout results = layout.results();
      SCOPED_TRACE(std::to_string(max_rows) + " rows of " + std::to_string(head_dim));
      EXPECT_LE(layout.num_bytes(), DecodeLayout::kMaxSharedBytes);
      EXPECT_GT(2 * layout.num_bytes(), DecodeLayout::kMaxSharedBytes);  // a multiprocessor has no room for two blocks
      EXPECT_LE(stages.end(), layout.num_bytes());
      EXPECT_GE(stages.num_places, 2);
      EXPECT_LE(stages.num_places, DecodeLayout::kMaxStages);
      EXPECT_LE(results.full(results.num_places), stages.full(0));
      EXPECT_LE(stages.full(stages.num_places), results.place(0));
      EXPECT_LE(results.end(), stages.place(0));
      for (const int offset : {results.place(0), results.place(1), stages.place(0), stages.place(1), layout.values(),
                               layout.queries(), layout.note(), layout.chunk_bytes(), layout.query_row_bytes(),
                               layout.state_row(0, 0), layout.state_row(0, 1), layout.max_and_sum()}) {
        EXPECT_EQ(offset % 16, 0);
      }
      EXPECT_EQ(layout.chunk_bytes() % 128, 16);  // eight chunks begin in eight groups of banks
    }
  }
}

TEST(DecodeLayout, StatesDoNotOverlap) {
  for (const int head_dim : {16, 80, 128}) {
    const DecodeLayout layout{head_dim, 3};
    int end = DecodeLayout::kNoteBytes;
    for (int warp = 0; warp < kDecodeWarps; ++warp) {
      for (int row = 0; row < 3; ++row) {
        EXPECT_GE(layout.state_row(warp, row), end);
        EXPECT_GE(layout.max_and_sum(), head_dim * 4);
        end = layout.state_row(warp, row) + layout.max_and_sum() + 8;
      }
    }
    EXPECT_GE(layout.results().place_bytes, end);
  }
}

TEST(DecodeWorkspace, PartsDoNotOverlap) {
  const DecodeWorkspace workspace{.num_blocks = 3, .max_rows = 5, .head_dim = 16};
  std::set<int64_t> floats;
  for (int place = 0; place < 6; ++place) {
    for (int row = 0; row < 5; ++row) {
      const int64_t at = workspace.row(place, row);
      EXPECT_EQ(workspace.values(at) % 4, 0);
      for (int64_t i = 0; i < 2; ++i) floats.insert(workspace.max_and_sum(at) + i);
      for (int64_t i = 0; i < 16; ++i) floats.insert(workspace.values(at) + i);
    }
  }
  EXPECT_EQ(static_cast<int64_t>(floats.size()), 2 * 3 * 5 * 18);
  EXPECT_EQ(*floats.begin(), 0);
  EXPECT_EQ((*floats.rbegin() + 1) * 4, workspace.num_bytes());
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
  const int64_t small = attention_workspace_bytes(1, 1, 8, 128);
  EXPECT_LE(small, int64_t{1} << 23);
  EXPECT_EQ(attention_workspace_bytes(1, 32768, 8, 128), small);
  EXPECT_LE(attention_workspace_bytes(4096, 1 << 20, 128, 128), int64_t{1} << 26);
}

}  // namespace
}  // namespace cohort::cuda
