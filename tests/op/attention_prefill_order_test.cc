#include "kernels/attention/attention_prefill_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cohort::cuda {
namespace {

AttentionProblem problem_of(const std::vector<int>& lengths, int64_t context, int64_t heads, int64_t kv_heads) {
  AttentionProblem p{.num_seqs = static_cast<int64_t>(lengths.size()),
                     .max_context_length = context,
                     .num_heads = heads,
                     .num_kv_heads = kv_heads,
                     .head_dim = 128,
                     .num_multiprocessors = 132};
  for (const int length : lengths) {
    p.num_tokens += length;
    p.max_query_length = std::max<int64_t>(p.max_query_length, length);
  }
  return p;
}

const std::vector<std::vector<int>> kLengths = {
    {1}, {127}, {128}, {2048}, {300, 300, 300}, {128, 128}, {5, 1, 700, 128, 3}, {0, 17, 0, 256, 0}};

template <typename F>
void for_each_problem(F&& body) {
  for (const std::vector<int>& lengths : kLengths) {
    for (const int64_t context : {2048, 100000}) {
      for (const int64_t kv_heads : {1, 3, 8}) {
        for (const int64_t group : {1, 5, 8, 12, 71, 256}) {
          SCOPED_TRACE(std::to_string(lengths.size()) + " sequences, the first of " + std::to_string(lengths[0]) +
                       ", context " + std::to_string(context) + ", " + std::to_string(kv_heads) + " KV heads of " +
                       std::to_string(group));
          body(lengths, problem_of(lengths, context, kv_heads * group, kv_heads));
        }
      }
    }
  }
}

TEST(AttentionPrefillOrder, EveryTileOfEverySlotOnce) {
  for_each_problem([](const std::vector<int>&, const AttentionProblem& p) {
    const PrefillOrder order = order_prefill(p);
    std::set<std::pair<int, int>> items;
    for (int i = 0; i < order.num_items(); ++i) {
      const PrefillItem item = order.item(i);
      EXPECT_TRUE(item.tile >= 0 && item.tile < order.num_tiles && item.slot >= 0 && item.slot < order.num_slots);
      items.insert({item.tile, item.slot});
    }
    EXPECT_EQ(items.size(), static_cast<size_t>(order.num_items()));
  });
}

TEST(AttentionPrefillOrder, SlotsAreHeadsOfOneKvHead) {
  for_each_problem([](const std::vector<int>&, const AttentionProblem& p) {
    const PrefillOrder order = order_prefill(p);
    const int64_t heads_per_slot = int64_t{1} << order.heads_per_slot_log2;
    EXPECT_EQ(order.num_slots * heads_per_slot, p.num_heads);
    EXPECT_EQ(p.num_heads / p.num_kv_heads % heads_per_slot, 0);
    EXPECT_LE(heads_per_slot, kPrefillRows);
  });
}

TEST(AttentionPrefillOrder, NoTileIsOfTwoSequences) {
  for_each_problem([](const std::vector<int>& lengths, const AttentionProblem& p) {
    const PrefillOrder order = order_prefill(p);
    int next_tile = 0;
    int query_start = 0;
    for (size_t seq = 0; seq < lengths.size(); ++seq) {
      const int first_tile = order.tiles_per_seq > 0 ? static_cast<int>(seq) * order.tiles_per_seq
                                                     : order.first_tile(static_cast<int>(seq), query_start);
      EXPECT_GE(first_tile, next_tile) << "sequence " << seq;
      const int num_rows = lengths[seq] << order.heads_per_slot_log2;
      next_tile = first_tile + (num_rows + kPrefillRows - 1) / kPrefillRows;
      query_start += lengths[seq];
    }
    EXPECT_LE(next_tile, order.num_tiles);
  });
}

TEST(AttentionPrefillOrder, SequencesThatAreAlikeHaveNoEmptyTiles) {
  EXPECT_EQ(order_prefill(problem_of({2048}, 2048, 40, 40)).num_items(), 16 * 40);
  EXPECT_EQ(order_prefill(problem_of({4096, 4096}, 4096, 64, 8)).num_items(), 2 * 256 * 8);
}

TEST(AttentionPrefillOrder, LastTilesOfASectionComeFirst) {
  const PrefillOrder order = order_prefill(problem_of({8192}, 8192, 40, 40));
  EXPECT_EQ(order.slots_per_section, 6);  // 4 MB each
  EXPECT_FALSE(order.is_sorted());
  for (int i = 0; i < 64 * 36; ++i) {
    EXPECT_EQ(order.item(i).slot / 6, i / (64 * 6));
    EXPECT_EQ(order.item(i).tile, 63 - i % (64 * 6) / 6);
  }
}

TEST(AttentionPrefillOrder, WhatFitsTheCacheIsSorted) {
  EXPECT_TRUE(order_prefill(problem_of({2048}, 2048, 40, 40)).is_sorted());
  EXPECT_TRUE(order_prefill(problem_of({8192}, 8192, 64, 8)).is_sorted());
  EXPECT_FALSE(order_prefill(problem_of({2048, 2048}, 2048, 40, 40)).is_sorted());
}

}  // namespace
}  // namespace cohort::cuda
