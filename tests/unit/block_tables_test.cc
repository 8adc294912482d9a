// A request that waits for blocks gets them as soon as it can, however often it was refused before.
#include "runtime/scheduler/block_tables.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

constexpr int64_t kBlockSize = 4;

// A prompt whose blocks can be looked for.
ScheduledRequest request_of(BlockTables& blocks, int64_t id, int64_t length) {
  ScheduledRequest request;
  request.sequence.id = id;
  for (int64_t i = 0; i < length; ++i) request.sequence.prompt.push_back(static_cast<int32_t>(i));
  blocks.add_prompt_keys(request);
  return request;
}

void compute(BlockTables& blocks, ScheduledRequest& request, int64_t num_positions) {
  request.sequence.num_computed = num_positions;
  blocks.publish(request);
}

TEST(BlockTables, WhoWaitsSharesWhatIsPublished) {
  BlockTables blocks(6, kBlockSize, true);
  ScheduledRequest first = request_of(blocks, 0, 16);
  ScheduledRequest second = request_of(blocks, 1, 20);
  ASSERT_TRUE(blocks.take(first, 0));
  // Five blocks, of which two are there.
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(blocks.take(second, 0));
  compute(blocks, first, 8);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(blocks.take(second, 0));
  compute(blocks, first, 12);
  EXPECT_FALSE(blocks.take(second, 1));
  EXPECT_FALSE(blocks.take(second, 2));
  ASSERT_TRUE(blocks.take(second, 0));
  EXPECT_EQ(second.sequence.num_computed, 12);
  EXPECT_EQ(blocks.allocator().num_available(), 0);
  blocks.release(first);
  blocks.release(second);
  blocks.allocator().check_invariants();
  EXPECT_EQ(blocks.allocator().num_available(), 6);
}

TEST(BlockTables, WhoWaitsTakesWhatComesBack) {
  BlockTables blocks(8, kBlockSize, true);
  ScheduledRequest first = request_of(blocks, 0, 8);
  ScheduledRequest second = request_of(blocks, 1, 12);
  ScheduledRequest third = request_of(blocks, 2, 20);
  ASSERT_TRUE(blocks.take(first, 0));
  ASSERT_TRUE(blocks.take(second, 0));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(blocks.take(third, 0));
  blocks.release(first, /*is_bad=*/true);
  ASSERT_TRUE(blocks.take(third, 0));
  EXPECT_EQ(third.sequence.num_computed, 0);
  // Another one waits meanwhile, and then the first again.
  ScheduledRequest fourth = request_of(blocks, 3, 8);
  EXPECT_FALSE(blocks.take(first, 0));
  EXPECT_FALSE(blocks.take(fourth, 0));
  EXPECT_FALSE(blocks.take(first, 0));
  blocks.release(second);
  EXPECT_TRUE(blocks.take(first, 0));
}

}  // namespace
}  // namespace cohort
