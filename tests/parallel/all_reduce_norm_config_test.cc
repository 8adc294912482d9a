// By which kernel the terms of shards are added, and with how many blocks.
#include <gtest/gtest.h>

#include <utility>

#include "parallel/tensor/all_reduce_norm.h"

namespace cohort {
namespace {

constexpr auto kOneShot = AllReduceAlgorithm::kOneShot;
constexpr auto kTwoShot = AllReduceAlgorithm::kTwoShot;

Mailbox mailbox_of(int num_ranks, int architecture = 90, int num_multiprocessors = 132) {
  Mailbox mailbox;
  mailbox.size = num_ranks;
  mailbox.architecture = architecture;
  mailbox.num_multiprocessors = num_multiprocessors;
  return mailbox;
}

using Blocks = std::pair<int, int>;
constexpr Blocks kNone = {0, 0};

// {blocks a row, threads a block}
Blocks one_shot(int64_t num_tokens, int64_t row_bytes, const Mailbox& mailbox) {
  const auto config = all_reduce_norm_config(kOneShot, num_tokens, row_bytes, mailbox);
  if (!config) return kNone;
  EXPECT_EQ(config->algorithm, kOneShot);
  EXPECT_EQ(config->num_blocks, num_tokens * config->blocks_per_row);
  return {config->blocks_per_row, config->num_threads};
}

// {blocks, threads a block}
Blocks two_shot(int64_t num_tokens, int64_t row_bytes, const Mailbox& mailbox) {
  const auto config = all_reduce_norm_config(kTwoShot, num_tokens, row_bytes, mailbox);
  if (!config) return kNone;
  EXPECT_EQ(config->algorithm, kTwoShot);
  EXPECT_EQ(config->blocks_per_row, 1);
  return {config->num_blocks, config->num_threads};
}

TEST(OneShotConfig, FewRowsGetManyBlocks) {
  EXPECT_EQ(one_shot(1, 2 * 5120, mailbox_of(2)), Blocks(4, 160));
  EXPECT_EQ(one_shot(16, 2 * 5120, mailbox_of(2)), Blocks(4, 160));
  EXPECT_EQ(one_shot(17, 2 * 5120, mailbox_of(2)), Blocks(2, 320));
  EXPECT_EQ(one_shot(33, 2 * 5120, mailbox_of(2)), Blocks(1, 640));
  EXPECT_EQ(one_shot(128, 2 * 5120, mailbox_of(2)), Blocks(1, 640));
  EXPECT_EQ(one_shot(1, 2 * 8192, mailbox_of(8)), Blocks(4, 256));
  EXPECT_EQ(one_shot(1, 2 * 1000, mailbox_of(2)), Blocks(1, 128));
  EXPECT_EQ(one_shot(1, 16, mailbox_of(2)), Blocks(1, 32));
}

TEST(OneShotConfig, LongRowsNeedBlocks) {
  EXPECT_EQ(one_shot(64, 2 * 12288, mailbox_of(2)), Blocks(2, 768));
  EXPECT_EQ(one_shot(20, 4 * 16384, mailbox_of(2)), Blocks(4, 1024));
  EXPECT_EQ(one_shot(1, 4 * 16388, mailbox_of(2)), kNone);
}

TEST(OneShotConfig, WhatTheKernelCannot) {
  EXPECT_EQ(one_shot(1, 2 * 5121, mailbox_of(2)), kNone);    // not in vectors of 16 bytes
  EXPECT_EQ(one_shot(129, 2 * 5120, mailbox_of(2)), kNone);  // more blocks than find a place
  EXPECT_EQ(one_shot(0, 2 * 5120, mailbox_of(2)), kNone);
}

TEST(OneShotConfig, BeforeHopperARowHasOneBlock) {
  const Mailbox a100 = mailbox_of(2, 80, 108);
  EXPECT_EQ(one_shot(1, 2 * 5120, a100), Blocks(1, 640));
  EXPECT_EQ(one_shot(108, 2 * 5120, a100), Blocks(1, 640));
  EXPECT_EQ(one_shot(109, 2 * 5120, a100), kNone);  // more blocks than find a place
  EXPECT_EQ(one_shot(1, 2 * 8192, a100), Blocks(1, 1024));
  EXPECT_EQ(one_shot(1, 2 * 12288, a100), kNone);  // more vectors than a block has threads
}

TEST(TwoShotConfig, AThreadHasAVectorOfEachPart) {
  EXPECT_EQ(two_shot(16, 2 * 5120, mailbox_of(2)), Blocks(16, 320));
  EXPECT_EQ(two_shot(16, 2 * 5120, mailbox_of(4)), Blocks(16, 160));
  EXPECT_EQ(two_shot(16, 2 * 5120, mailbox_of(8)), Blocks(16, 96));
  EXPECT_EQ(two_shot(1, 2 * 1000, mailbox_of(4)), Blocks(1, 32));
  EXPECT_EQ(two_shot(1, 16, mailbox_of(8)), Blocks(1, 32));
}

TEST(TwoShotConfig, BlocksGoOverTheRowsOfALongPrompt) {
  EXPECT_EQ(two_shot(2048, 2 * 8192, mailbox_of(2)), Blocks(256, 512));
  EXPECT_EQ(two_shot(2048, 2 * 5120, mailbox_of(4)), Blocks(256, 160));  // as many as there are slots
  EXPECT_EQ(two_shot(2048, 2 * 5120, mailbox_of(4, 90, 20)), Blocks(60, 160));
  EXPECT_EQ(two_shot(2048, 2 * 5120, mailbox_of(8, 90, 20)), Blocks(100, 96));
  EXPECT_EQ(two_shot(200, 2 * 8192, mailbox_of(4)), Blocks(200, 256));
  EXPECT_EQ(two_shot(2048, 2 * 12288, mailbox_of(2)), Blocks(128, 768));
}

TEST(TwoShotConfig, WhatTheKernelCannot) {
  EXPECT_EQ(two_shot(1, 2 * 5121, mailbox_of(4)), kNone);  // not in vectors of 16 bytes
  EXPECT_EQ(two_shot(1, 2 * 16384, mailbox_of(2)), Blocks(1, 1024));
  EXPECT_EQ(two_shot(1, 2 * 16400, mailbox_of(2)), kNone);  // more than a slot holds, and a block has threads
  EXPECT_EQ(two_shot(1, 4 * 16384, mailbox_of(8)), Blocks(1, 512));
  EXPECT_EQ(two_shot(1, 4 * 16416, mailbox_of(8)), kNone);
  EXPECT_EQ(two_shot(0, 2 * 5120, mailbox_of(4)), kNone);
}

// The first number of tokens that two-shot sums.
int64_t first_two_shot(int64_t row_bytes, const Mailbox& mailbox) {
  int64_t num_tokens = 1;
  while (choose_all_reduce_norm_config(num_tokens, row_bytes, mailbox)->algorithm == kOneShot) ++num_tokens;
  for (int64_t more = num_tokens; more < 5000; more += 97) {
    EXPECT_EQ(choose_all_reduce_norm_config(more, row_bytes, mailbox)->algorithm, kTwoShot) << more;
  }
  return num_tokens;
}

TEST(ChosenConfig, ShortMessagesGoOneWay) {
  EXPECT_EQ(first_two_shot(2 * 5120, mailbox_of(2)), 129);  // what the kernel can
  EXPECT_EQ(first_two_shot(2 * 8192, mailbox_of(2)), 129);
  EXPECT_EQ(first_two_shot(2 * 5120, mailbox_of(4)), 39);
  EXPECT_EQ(first_two_shot(2 * 8192, mailbox_of(4)), 25);
  EXPECT_EQ(first_two_shot(2 * 5120, mailbox_of(8)), 10);
}

TEST(ChosenConfig, OneKernelMayWhereTheOtherCannot) {
  // A row of more vectors than blocks of one-shot have threads.
  EXPECT_EQ(choose_all_reduce_norm_config(1, 2 * 12288, mailbox_of(4, 80, 108))->algorithm, kTwoShot);
  // A row of more than a slot holds.
  EXPECT_EQ(choose_all_reduce_norm_config(1, 2 * 20480, mailbox_of(2))->algorithm, kOneShot);
  EXPECT_FALSE(choose_all_reduce_norm_config(100, 2 * 20480, mailbox_of(2)));
  EXPECT_FALSE(choose_all_reduce_norm_config(1, 2 * 5121, mailbox_of(4)));
}

}  // namespace
}  // namespace cohort
