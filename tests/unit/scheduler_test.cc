// The scheduler's plans, with results made up.
#include <gtest/gtest.h>

#include <map>

#include "runtime/scheduler/scheduler.h"

namespace cohort {
namespace {

GenerationRequest request_of(int64_t prompt_length, int64_t max_tokens) {
  GenerationRequest request;
  request.prompt.assign(static_cast<size_t>(prompt_length), 5);
  request.max_tokens = max_tokens;
  return request;
}

SchedulerOptions options_of(int64_t num_micro_batches) {
  return {.vocab = 100,
          .max_position = 200,
          .block_size = 4,
          .num_blocks = 100,
          .max_tokens_per_step = 16,
          .max_seqs = 8,
          .num_micro_batches = num_micro_batches};
}

// Plays the ranks: keeps how far each sequence is, and samples token 7 for those whose last token is computed.
class Ranks {
 public:
  wire::StepResult execute(const wire::StepPlan& plan) {
    wire::StepResult result;
    result.set_step(plan.step());
    for (const int64_t id : plan.released()) EXPECT_EQ(pending_.erase(id), 1u);
    for (const auto& admitted : plan.admitted()) {
      pending_[admitted.id()] = admitted.prompt_size() + admitted.output_size() - admitted.num_computed();
      fed_[admitted.id()] = 0;
    }
    for (const auto& work : plan.work()) {
      int64_t& pending = pending_.at(work.id());
      // A fed token counts when it is fed, not again when it is told.
      int64_t& fed = fed_[work.id()];
      const int64_t told = std::min<int64_t>(work.new_tokens_size(), fed);
      fed += (work.is_fed() ? 1 : 0) - told;
      pending += work.new_tokens_size() - told + (work.is_fed() ? 1 : 0);
      EXPECT_LE(work.num_tokens(), pending);
      pending -= work.num_tokens();
      if (pending > 0) continue;
      wire::SampledToken& sampled = *result.add_tokens();
      sampled.set_id(work.id());
      sampled.set_token(7);
    }
    return result;
  }

 private:
  std::map<int64_t, int64_t> pending_;  // tokens to compute
  std::map<int64_t, int64_t> fed_;      // tokens fed and not told
};

int64_t num_tokens(const wire::StepPlan& plan) {
  int64_t total = 0;
  for (const auto& work : plan.work()) total += work.num_tokens();
  return total;
}

TEST(SchedulerTest, AsManyPlansUnderWayAsStages) {
  Scheduler scheduler(options_of(3));
  Ranks ranks;
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(scheduler.submit(request_of(2, 5), 0).ok());
  std::deque<wire::StepResult> results;
  int64_t num_output = 0;
  while (scheduler.has_work()) {
    while (scheduler.num_under_way() < 3) {
      const auto plan = scheduler.next_plan(0);
      if (!plan) break;
      EXPECT_EQ(plan->work_size(), 2);  // a third of the sequences
      results.push_back(ranks.execute(*plan));
    }
    EXPECT_EQ(scheduler.num_under_way(), 3);  // none of the stages waits before the end
    num_output += static_cast<int64_t>(scheduler.complete(results.front()).size());
    results.pop_front();
    if (num_output > 24) break;  // the pipeline drains
  }
  EXPECT_GT(num_output, 24);
}

TEST(SchedulerTest, ChunksOfOnePromptFillThePipeline) {
  Scheduler scheduler(options_of(2));
  ASSERT_TRUE(scheduler.submit(request_of(40, 3), 0).ok());
  Ranks ranks;
  const auto first = scheduler.next_plan(0);
  const auto second = scheduler.next_plan(0);
  const auto third = scheduler.next_plan(0);
  ASSERT_TRUE(first && second && third);
  EXPECT_EQ(num_tokens(*first), 16);
  EXPECT_EQ(num_tokens(*second), 16);
  EXPECT_EQ(num_tokens(*third), 8);
  EXPECT_FALSE(scheduler.next_plan(0).has_value());  // its next token is not sampled yet
  EXPECT_TRUE(scheduler.complete(ranks.execute(*first)).empty());
  EXPECT_TRUE(scheduler.complete(ranks.execute(*second)).empty());
  EXPECT_EQ(scheduler.complete(ranks.execute(*third)).size(), 1u);
  const auto decode = scheduler.next_plan(0);
  ASSERT_TRUE(decode.has_value());
  EXPECT_EQ(decode->work(0).new_tokens(0), 7);
  EXPECT_EQ(decode->work(0).num_tokens(), 1);
}

TEST(SchedulerTest, APlanIsMadeBeforeTheTokenOfTheLastIsKnown) {
  SchedulerOptions options = options_of(1);
  options.overlap_steps = true;
  Scheduler scheduler(options);
  Ranks ranks;
  ASSERT_TRUE(scheduler.submit(request_of(3, 4), 0).ok());
  GenerationRequest penalised = request_of(3, 4);
  penalised.sampling.presence_penalty = 1;
  ASSERT_TRUE(scheduler.submit(penalised, 0).ok());
  const auto first = scheduler.next_plan(0);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->work_size(), 2);
  EXPECT_FALSE(first->work(0).is_fed());
  const auto second = scheduler.next_plan(0);
  ASSERT_TRUE(second.has_value());
  ASSERT_EQ(second->work_size(), 1);  // the other one's penalty needs its token
  EXPECT_EQ(second->work(0).id(), 0);
  EXPECT_TRUE(second->work(0).is_fed());
  EXPECT_EQ(second->work(0).num_tokens(), 1);
  EXPECT_THROW(scheduler.next_plan(0), CheckError);  // two are under way
  EXPECT_EQ(scheduler.complete(ranks.execute(*first)).size(), 2u);
  const auto third = scheduler.next_plan(0);
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->work_size(), 2);
  EXPECT_EQ(third->work(0).new_tokens_size(), 1);  // the one that was fed, for the record
}

TEST(SchedulerTest, WhatAStopTokenMakesVainIsNotToldAndItsBlocksAreBackAtOnce) {
  SchedulerOptions options = options_of(1);
  options.overlap_steps = true;
  Scheduler scheduler(options);
  Ranks ranks;
  GenerationRequest request = request_of(3, 10);
  request.stop_ids = {7};
  ASSERT_TRUE(scheduler.submit(request, 0).ok());
  const auto first = scheduler.next_plan(0);
  const auto second = scheduler.next_plan(0);
  ASSERT_TRUE(first && second);
  const auto events = scheduler.complete(ranks.execute(*first));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, FinishReason::kStop);
  EXPECT_TRUE(scheduler.has_work());             // the second plan is under way
  EXPECT_EQ(scheduler.blocks().num_owned(), 0);  // later plans run later
  EXPECT_FALSE(scheduler.next_plan(0).has_value());
  EXPECT_TRUE(scheduler.complete(ranks.execute(*second)).empty());
  EXPECT_FALSE(scheduler.has_work());
  EXPECT_EQ(scheduler.blocks().num_owned(), 0);
}

TEST(SchedulerTest, EverythingIsAnsweredAndEveryBlockComesBack) {
  for (const int64_t num_micro_batches : {1, 2, 3, 5}) {
    SchedulerOptions options = options_of(num_micro_batches);
    options.num_blocks = 30;  // fewer than all requests need at once
    Scheduler scheduler(options);
    Ranks ranks;
    std::map<int64_t, int64_t> wanted;
    for (int i = 0; i < 25; ++i) {
      const int64_t max_tokens = 1 + i % 7;
      const auto id = scheduler.submit(request_of(1 + i * 3 % 50, max_tokens), 0);
      ASSERT_TRUE(id.ok());
      wanted[*id] = max_tokens;
    }
    std::map<int64_t, int64_t> got;
    std::deque<wire::StepResult> results;
    while (scheduler.has_work()) {
      while (scheduler.num_under_way() < num_micro_batches) {
        const auto plan = scheduler.next_plan(0);
        if (!plan) break;
        EXPECT_LE(num_tokens(*plan), options.max_tokens_per_step);
        EXPECT_LE(plan->work_size(), options.max_seqs);
        results.push_back(ranks.execute(*plan));
      }
      ASSERT_FALSE(results.empty());
      for (const TokenEvent& event : scheduler.complete(results.front())) {
        ++got[event.request_id];
        EXPECT_EQ(event.finish == FinishReason::kNone, got[event.request_id] < wanted[event.request_id]);
      }
      results.pop_front();
    }
    EXPECT_EQ(got, wanted);
    EXPECT_EQ(scheduler.blocks().num_owned(), 0);
  }
}

TEST(SchedulerTest, ResultsComeInTheOrderOfPlans) {
  Scheduler scheduler(options_of(2));
  ASSERT_TRUE(scheduler.submit(request_of(2, 5), 0).ok());
  ASSERT_TRUE(scheduler.submit(request_of(2, 5), 0).ok());
  Ranks ranks;
  const auto first = scheduler.next_plan(0);
  const auto second = scheduler.next_plan(0);
  ASSERT_TRUE(first && second);
  const auto result = ranks.execute(*first);
  EXPECT_THROW(scheduler.complete(ranks.execute(*second)), CheckError);
  EXPECT_EQ(scheduler.complete(result).size(), 1u);
}

}  // namespace
}  // namespace cohort
