// Blocks of the cache: who owns them, and what is found of those that nobody owns.
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/core/check.h"
#include "runtime/cache/block_allocator.h"

namespace cohort {
namespace {

constexpr int32_t kNone = BlockAllocator::kNone;

BlockKey key_of(uint64_t number) { return {number, 1, 2, 3}; }

std::vector<int32_t> allocate(BlockAllocator& blocks, int count) {
  std::vector<int32_t> allocated;
  for (int i = 0; i < count; ++i) allocated.push_back(blocks.allocate());
  return allocated;
}

TEST(BlockAllocatorTest, EveryBlockIsFreeOrOwned) {
  BlockAllocator blocks(5);
  const auto a = allocate(blocks, 3);
  const auto b = allocate(blocks, 2);
  EXPECT_THROW(blocks.allocate(), CheckError);
  std::vector<int32_t> all = a;
  all.insert(all.end(), b.begin(), b.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  blocks.release(a);
  EXPECT_THROW(blocks.release(a), CheckError);
  EXPECT_EQ(blocks.num_owned(), 2);
  EXPECT_EQ(blocks.num_free(), 3);
  blocks.release(b);
  EXPECT_EQ(blocks.num_free(), 5);
  EXPECT_THROW(blocks.release(std::vector<int32_t>{5}), CheckError);
  blocks.check_invariants();
}

TEST(BlockAllocatorTest, ABlockWithAKeyIsFoundUntilItIsTaken) {
  BlockAllocator blocks(3);
  const auto a = allocate(blocks, 2);
  blocks.publish(a[0], key_of(7));
  blocks.publish(a[1], key_of(8));
  EXPECT_EQ(blocks.find(key_of(7)), a[0]);
  EXPECT_FALSE(blocks.is_cached(a[0]));
  blocks.share(a[0]);
  blocks.release(a);
  EXPECT_EQ(blocks.num_owned(), 1);  // a[0] has another owner
  EXPECT_EQ(blocks.num_cached(), 1);
  blocks.check_invariants();
  blocks.release(std::vector<int32_t>{a[0]});
  EXPECT_EQ(blocks.num_cached(), 2);
  EXPECT_TRUE(blocks.is_cached(a[0]));
  blocks.share(a[0]);
  EXPECT_EQ(blocks.num_owned(), 1);
  blocks.check_invariants();
  allocate(blocks, 2);  // the free one and a[1]
  EXPECT_EQ(blocks.find(key_of(8)), kNone);
  EXPECT_EQ(blocks.find(key_of(7)), a[0]);
  EXPECT_THROW(blocks.allocate(), CheckError);
  blocks.check_invariants();
}

TEST(BlockAllocatorTest, TheEndOfASequenceThatWasReleasedFirstIsTakenFirst) {
  BlockAllocator blocks(4);
  const auto a = allocate(blocks, 2);
  const auto b = allocate(blocks, 2);
  for (uint64_t i = 0; i < 2; ++i) {
    blocks.publish(a[i], key_of(i));
    blocks.publish(b[i], key_of(10 + i));
  }
  blocks.release(b);
  blocks.release(a);
  EXPECT_EQ(allocate(blocks, 4), (std::vector<int32_t>{b[1], b[0], a[1], a[0]}));
  blocks.check_invariants();
}

TEST(BlockAllocatorTest, AKeyStandsForOneBlock) {
  BlockAllocator blocks(3);
  const auto a = allocate(blocks, 2);
  blocks.publish(a[0], key_of(1));
  blocks.publish(a[1], key_of(1));
  EXPECT_EQ(blocks.find(key_of(1)), a[0]);
  EXPECT_THROW(blocks.publish(a[0], key_of(2)), CheckError);
  blocks.forget(a[1]);
  EXPECT_EQ(blocks.find(key_of(1)), a[0]);
  blocks.forget(a[0]);
  EXPECT_EQ(blocks.find(key_of(1)), kNone);
  blocks.release(a);
  EXPECT_EQ(blocks.num_free(), 3);
  EXPECT_THROW(blocks.share(a[0]), CheckError);
  EXPECT_THROW(blocks.publish(a[0], key_of(2)), CheckError);
  blocks.check_invariants();
}

TEST(BlockKeyTest, AKeyIsOfAllTokensBeforeAndOfTheSaltAndOfTheProcess) {
  BlockKeyMaker keys;
  const std::vector<int32_t> a{1, 2, 3, 4};
  const std::vector<int32_t> b{1, 2, 3, 5};
  const BlockKey root = keys.root("");
  EXPECT_EQ(keys.extend(root, a), keys.extend(keys.root(""), a));
  EXPECT_NE(keys.extend(root, a), keys.extend(root, b));
  EXPECT_NE(keys.extend(keys.extend(root, a), a), keys.extend(keys.extend(root, b), a));
  EXPECT_NE(keys.extend(root, a), keys.extend(keys.root("salt"), a));
  EXPECT_NE(keys.extend(root, a), keys.extend(keys.extend(root, a), a));
  BlockKeyMaker others;
  EXPECT_NE(keys.extend(root, a), others.extend(others.root(""), a));
}

}  // namespace
}  // namespace cohort
