// Cutting layers into stages, against all possible cuts.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>

#include "parallel/layout/parallel_layout.h"
#include "parallel/pipeline/stages.h"

namespace cohort {
namespace {

int64_t largest_cost(const std::vector<Slice>& stages, const std::vector<int64_t>& costs, int64_t first, int64_t last) {
  int64_t largest = 0;
  for (size_t s = 0; s < stages.size(); ++s) {
    int64_t cost = (s == 0 ? first : 0) + (s + 1 == stages.size() ? last : 0);
    for (int64_t i = stages[s].begin; i < stages[s].end; ++i) cost += costs[static_cast<size_t>(i)];
    largest = std::max(largest, cost);
  }
  return largest;
}

// The least largest cost over every cut.
int64_t best_cost(const std::vector<int64_t>& costs, int64_t first, int64_t last, int num_stages) {
  int64_t best = std::numeric_limits<int64_t>::max();
  std::vector<Slice> stages;
  const auto num_layers = static_cast<int64_t>(costs.size());
  const std::function<void(int64_t)> cut = [&](int64_t begin) {
    const auto left = num_stages - static_cast<int64_t>(stages.size());
    if (left == 0) {
      if (begin == num_layers) best = std::min(best, largest_cost(stages, costs, first, last));
      return;
    }
    for (int64_t end = begin + 1; end <= num_layers - left + 1; ++end) {
      stages.push_back({begin, end});
      cut(end);
      stages.pop_back();
    }
  };
  cut(0);
  return best;
}

TEST(StagesTest, NoCutIsBetter) {
  std::mt19937 random(5);
  for (int turn = 0; turn < 300; ++turn) {
    std::vector<int64_t> costs(1 + random() % 9);
    for (int64_t& cost : costs) cost = random() % 20;
    const int64_t first = random() % 40;
    const int64_t last = random() % 40;
    const int num_stages = 1 + static_cast<int>(random() % costs.size());
    const auto stages = balance_stages(costs, first, last, num_stages);
    ASSERT_TRUE(stages.ok());
    ASSERT_EQ(static_cast<int>(stages->size()), num_stages);
    int64_t next = 0;
    for (const Slice& stage : *stages) {
      EXPECT_EQ(stage.begin, next);
      EXPECT_GE(stage.size(), 1);
      next = stage.end;
    }
    EXPECT_EQ(next, static_cast<int64_t>(costs.size()));
    EXPECT_EQ(largest_cost(*stages, costs, first, last), best_cost(costs, first, last, num_stages));
  }
}

TEST(StagesTest, EmbeddingAndLogitsCount) {
  const std::vector<int64_t> layers(10, 10);
  const auto stages = balance_stages(layers, 20, 30, 3);
  ASSERT_TRUE(stages.ok());
  EXPECT_EQ(*stages, (std::vector<Slice>{{0, 3}, {3, 8}, {8, 10}}));
}

TEST(StagesTest, EqualCostsGiveEvenStages) {
  const auto stages = balance_stages(std::vector<int64_t>(7, 1), 0, 0, 4);
  ASSERT_TRUE(stages.ok());
  for (const Slice& stage : *stages) EXPECT_LE(stage.size(), 2);
}

TEST(StagesTest, FewerLayersThanStages) {
  const auto stages = balance_stages(std::vector<int64_t>(3, 1), 0, 0, 4);
  EXPECT_EQ(stages.status().message(),
            "pipeline_parallel_size: expected 1 to 3, since every stage needs a layer and the model has 3, got 4");
}

TEST(ParallelLayoutTest, PlacesAreCountedShardFirst) {
  const ParallelSizes sizes{.tensor = 2, .pipeline = 3, .replicas = 2};
  int rank = 0;
  for (int replica = 0; replica < 2; ++replica) {
    for (int stage = 0; stage < 3; ++stage) {
      for (int shard = 0; shard < 2; ++shard, ++rank) {
        const ParallelLayout layout(sizes, rank);
        EXPECT_EQ(layout.replica(), replica);
        EXPECT_EQ(layout.stage(), stage);
        EXPECT_EQ(layout.shard(), shard);
        EXPECT_EQ(layout.is_leader(), stage == 0 && shard == 0);
        EXPECT_EQ(layout.is_sampler(), stage == 2 && shard == 0);
      }
    }
  }
  EXPECT_EQ(sizes.num_ranks(), rank);
  EXPECT_TRUE(check_num_ranks(sizes, 12).ok());
  EXPECT_EQ(
      check_num_ranks(sizes, 4).message(),
      "tensor_parallel_size 2 x pipeline_parallel_size 3 x replicas 2 needs 12 ranks, but the launcher started 4: "
      "expected mpirun -np 12 (or srun -n), or sizes whose product is 4");
}

}  // namespace
}  // namespace cohort
