// Who runs, who waits, who goes, and what is shared.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "tests/unit/simulated_ranks.h"

namespace cohort {
namespace {

using test::SimulatedRanks;

constexpr int64_t kVocab = 1000;

SchedulerOptions small_options() {
  return {.vocab = kVocab,
          .max_position = 100,
          .block_size = 4,
          .num_blocks = 40,
          .max_tokens_per_step = 32,
          .max_seqs = 4};
}

GenerationRequest request_of(int64_t prompt_length, int64_t max_tokens, int32_t first_token = 1) {
  GenerationRequest request;
  for (int64_t i = 0; i < prompt_length; ++i) request.prompt.push_back(first_token + static_cast<int32_t>(i));
  request.max_tokens = max_tokens;
  return request;
}

// A scheduler and one stage of ranks, which executes a plan as soon as it is made.
class Replica {
 public:
  explicit Replica(const SchedulerOptions& options) : scheduler(options), ranks_(options, 1) {}

  int64_t submit(GenerationRequest request, double now_s = 0) {
    const auto id = scheduler.submit(std::move(request), now_s);
    EXPECT_TRUE(id.ok()) << id.status().message();
    return id.ok() ? *id : -1;
  }

  wire::StepPlan plan(double now_s = 0) {
    auto plan = scheduler.next_plan(now_s);
    EXPECT_TRUE(plan.has_value());
    if (!plan) return {};
    ranks_.start(*plan);
    ranks_.advance(random_);
    return *std::move(plan);
  }

  std::vector<TokenEvent> complete() {
    std::vector<TokenEvent> events = scheduler.complete(ranks_.take_result());
    scheduler.check_invariants();
    for (const TokenEvent& event : events) {
      if (event.finish != FinishReason::kError) outputs[event.request_id].push_back(event.token);
      if (event.finish != FinishReason::kNone) ended.push_back(event.request_id);
    }
    return events;
  }

  std::vector<TokenEvent> step() {
    plan();
    return complete();
  }

  void run() {
    while (scheduler.has_work()) step();
  }

  Scheduler scheduler;
  std::map<int64_t, std::vector<int32_t>> outputs;
  std::vector<int64_t> ended;  // requests, in order

 private:
  SimulatedRanks ranks_;
  std::mt19937_64 random_;
};

TEST(SchedulerPolicyTest, LowerPrioritiesRunFirstAndThenWhoCameFirst) {
  SchedulerOptions options = small_options();
  options.max_seqs = 1;
  Replica replica(options);
  for (const int32_t priority : {1, 0, 1, -5, 0}) {
    GenerationRequest request = request_of(3, 2);
    request.priority = priority;
    replica.submit(request);
  }
  replica.run();
  EXPECT_EQ(replica.ended, (std::vector<int64_t>{3, 1, 4, 0, 2}));
}

TEST(SchedulerPolicyTest, WhenBlocksRunOutTheLastInLineGoesAndComesBackFirst) {
  SchedulerOptions options = small_options();
  options.num_blocks = 13;
  options.shares_prefixes = false;
  Replica replica(options);
  // Each is to have 6 blocks in the end.
  std::vector<GenerationRequest> requests;
  for (const int32_t priority : {1, 0, 2, 1}) {
    requests.push_back(request_of(8, 17, 10 * (priority + 1)));
    requests.back().priority = priority;
    replica.submit(requests.back());
  }
  std::vector<int64_t> admitted;
  while (replica.scheduler.has_work()) {
    const wire::StepPlan plan = replica.plan();
    for (const auto& sequence : plan.admitted()) admitted.push_back(sequence.id());
    replica.complete();
  }
  EXPECT_EQ(replica.ended, (std::vector<int64_t>{1, 0, 3, 2}));  // as they are in line
  ASSERT_GE(admitted.size(), 6u);
  EXPECT_EQ(admitted[0], 1);
  EXPECT_EQ(admitted[1], 0);
  EXPECT_GT(replica.scheduler.stats().num_preemptions, 0);
  EXPECT_LT(replica.scheduler.stats().num_preemptions, 5);  // they do not drive each other out by turns
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(replica.outputs[static_cast<int64_t>(i)], test::simulate_alone(requests[i], options, 1).tokens);
  }
}

TEST(SchedulerPolicyTest, NobodyIsAdmittedIntoTheLastBlocksOfThoseThatRun) {
  SchedulerOptions options = small_options();
  options.num_blocks = 6;
  Replica replica(options);
  replica.submit(request_of(8, 8, 10));
  replica.submit(request_of(12, 4, 50));
  replica.step();
  EXPECT_EQ(replica.scheduler.stats().num_running, 1);
  EXPECT_EQ(replica.scheduler.stats().num_waiting, 1);  // it fits, but the first needs a block in the next step
  replica.run();
  EXPECT_EQ(replica.scheduler.stats().num_preemptions, 0);
}

TEST(SchedulerPolicyTest, ATenantWithManyRequestsDoesNotKeepOthersWaiting) {
  Replica replica(small_options());
  constexpr int64_t kInput = 8;
  constexpr int64_t kOutput = 10;
  std::map<int64_t, std::string> tenant_of;
  const auto submit = [&](const std::string& tenant, int count) {
    for (int i = 0; i < count; ++i) {
      GenerationRequest request = request_of(kInput, kOutput, 1 + static_cast<int32_t>(tenant_of.size()) * 3);
      request.tenant = tenant;
      tenant_of[replica.submit(request)] = tenant;
    }
  };
  std::map<std::string, int64_t> num_tokens;
  std::map<std::string, int64_t> num_ended;
  const auto run_until = [&](const std::string& tenant, int64_t count) {
    while (num_ended[tenant] < count) {
      for (const TokenEvent& event : replica.step()) {
        ++num_tokens[tenant_of[event.request_id]];
        if (event.finish != FinishReason::kNone) ++num_ended[tenant_of[event.request_id]];
      }
    }
  };
  submit("many", 60);
  run_until("many", 20);
  submit("few", 12);  // not owed what it did not ask for, nor behind the forty that wait
  const int64_t before = num_tokens["many"];
  run_until("few", 8);
  // Four sequences run at once: what one tenant is ahead is less than two rounds of those.
  EXPECT_NEAR(static_cast<double>(num_tokens["many"] - before), static_cast<double>(num_tokens["few"]),
              2 * 4 * kOutput);
  EXPECT_GT(num_tokens["many"], before + 3 * kOutput);
  replica.run();
}

TEST(SchedulerPolicyTest, AWhollyCachedPromptComputesItsLastBlockAnew) {
  Replica replica(small_options());
  replica.submit(request_of(12, 5));
  const wire::StepPlan first = replica.plan();
  replica.complete();
  replica.submit(request_of(12, 5));
  const wire::StepPlan second = replica.plan();
  const auto events = replica.complete();
  ASSERT_EQ(second.admitted_size(), 1);
  const auto& a = first.admitted(0).block_table();
  const auto& b = second.admitted(0).block_table();
  EXPECT_EQ(second.admitted(0).num_computed(), 8);
  EXPECT_EQ(b[0], a[0]);
  EXPECT_EQ(b[1], a[1]);
  EXPECT_NE(b[2], a[2]);  // the last one is written while the first request reads its own
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].num_cached_tokens, 0);
  EXPECT_EQ(events[1].num_cached_tokens, 8);
  replica.run();
  EXPECT_EQ(replica.outputs[0], replica.outputs[1]);
  const EngineStats stats = replica.scheduler.stats();
  EXPECT_EQ(stats.num_prefix_queries, 24);
  EXPECT_EQ(stats.num_prefix_hits, 8);
}

TEST(SchedulerPolicyTest, OutputsAreFoundToo) {
  Replica replica(small_options());
  replica.submit(request_of(6, 9));
  replica.run();
  GenerationRequest again = request_of(6, 4);
  again.prompt.insert(again.prompt.end(), replica.outputs[0].begin(), replica.outputs[0].end());
  replica.submit(again);
  replica.plan();
  EXPECT_EQ(replica.complete()[0].num_cached_tokens, 12);  // 14 were computed
}

TEST(SchedulerPolicyTest, AnotherSaltFindsNothing) {
  Replica replica(small_options());
  replica.submit(request_of(12, 1));
  replica.run();
  for (const auto& [salt, num_cached] : {std::pair("", 8), std::pair("pepper", 0), std::pair("pepper", 8)}) {
    GenerationRequest request = request_of(12, 1);
    request.cache_salt = salt;
    replica.submit(request);
    replica.plan();
    EXPECT_EQ(replica.complete()[0].num_cached_tokens, num_cached);
  }
}

TEST(SchedulerPolicyTest, WhatAPlanUnderWayComputesIsFoundByTheNextButNotByItself) {
  SchedulerOptions options = small_options();
  options.num_micro_batches = 2;
  Scheduler scheduler(options);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(scheduler.submit(request_of(12, 5), 0).ok());
  const auto first = scheduler.next_plan(0);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->admitted(0).num_computed(), 0);
  ASSERT_TRUE(scheduler.submit(request_of(12, 5), 0).ok());
  const auto second = scheduler.next_plan(0);  // both requests began to run with the first plan
  ASSERT_TRUE(second.has_value());
  std::map<int64_t, int64_t> num_computed;
  for (const auto& sequence : second->admitted()) num_computed[sequence.id()] = sequence.num_computed();
  EXPECT_EQ(num_computed[1], 0);
  EXPECT_EQ(num_computed[2], 8);
}

TEST(SchedulerPolicyTest, AFullQueueAndWhatCanNeverFitAreToldApart) {
  SchedulerOptions options = small_options();
  options.max_waiting = 2;
  options.max_seqs = 1;
  options.num_blocks = 10;
  Replica replica(options);
  replica.submit(request_of(4, 4));
  replica.step();
  replica.submit(request_of(4, 4));
  replica.submit(request_of(4, 4));
  const Status full = replica.scheduler.submit(request_of(4, 4), 0).status();
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "the queue is full: 2 requests wait");
  const Status large = replica.scheduler.submit(request_of(40, 2), 0).status();
  EXPECT_EQ(large.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(large.message(), "prompt and output need 11 blocks of the cache, which has 10");
  replica.run();
  replica.submit(request_of(40, 1));
  replica.run();
  EXPECT_EQ(replica.ended.size(), 4u);
}

TEST(SchedulerPolicyTest, AFreePlaceIsNoPlaceInTheQueue) {
  SchedulerOptions options = small_options();
  options.max_waiting = 0;
  options.max_seqs = 2;
  Replica replica(options);
  for (int round = 0; round < 2; ++round) {
    replica.submit(request_of(4, 4));
    replica.submit(request_of(4, 4));
    EXPECT_EQ(replica.scheduler.submit(request_of(4, 4), 0).status().code(), StatusCode::kResourceExhausted);
    replica.step();
    EXPECT_EQ(replica.scheduler.submit(request_of(4, 4), 0).status().code(), StatusCode::kResourceExhausted);
    replica.run();
  }
  EXPECT_EQ(replica.ended.size(), 4u);
}

TEST(SchedulerPolicyTest, ACancelledRequestIsGoneAtOnce) {
  SchedulerOptions options = small_options();
  options.max_seqs = 2;
  Replica replica(options);
  for (int i = 0; i < 3; ++i) replica.submit(request_of(6, 5, 1 + 20 * i));
  replica.step();
  const int64_t owned_by_two = replica.scheduler.blocks().num_owned();
  replica.scheduler.cancel(0);   // between steps
  replica.scheduler.cancel(0);   // once more
  replica.scheduler.cancel(2);   // before it ran
  replica.scheduler.cancel(77);  // never was
  replica.scheduler.check_invariants();
  EXPECT_EQ(replica.scheduler.blocks().num_owned(), owned_by_two / 2);
  EXPECT_EQ(replica.scheduler.stats().num_waiting, 0);
  EXPECT_EQ(replica.scheduler.stats().num_cancelled, 2);
  EXPECT_EQ(replica.plan().released(0), 0);
  replica.scheduler.cancel(1);  // while a plan samples for it
  EXPECT_EQ(replica.scheduler.blocks().num_owned(), 0);
  EXPECT_TRUE(replica.scheduler.has_work());
  EXPECT_TRUE(replica.complete().empty());
  EXPECT_FALSE(replica.scheduler.has_work());
}

TEST(SchedulerPolicyTest, LogitsThatAreNoNumbersEndOneRequestAndAreNotShared) {
  Replica replica(small_options());
  GenerationRequest failing = request_of(12, 5);
  failing.sampling.seed = test::kFailingSeed;
  replica.submit(failing);
  replica.submit(request_of(12, 5, 100));
  replica.run();
  EXPECT_EQ(replica.ended, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(replica.outputs[0].size(), 1u);
  EXPECT_EQ(replica.outputs[1].size(), 5u);
  EXPECT_EQ(replica.scheduler.stats().num_errors, 1);
  replica.submit(request_of(12, 1));
  replica.plan();
  EXPECT_EQ(replica.complete()[0].num_cached_tokens, 0);
}

TEST(SchedulerPolicyTest, WaitingIsTimedUntilTheFirstPlan) {
  SchedulerOptions options = small_options();
  options.max_seqs = 1;
  Replica replica(options);
  replica.submit(request_of(4, 1), 10);
  replica.submit(request_of(4, 1), 10.5);
  replica.plan(11);
  EXPECT_DOUBLE_EQ(replica.complete()[0].queue_s, 1);
  replica.plan(12.75);
  EXPECT_DOUBLE_EQ(replica.complete()[0].queue_s, 2.25);
}

TEST(TenantSharesTest, IdleTenantsAreForgottenUnlessTheyHadMore) {
  TenantShares shares;
  for (int i = 0; i < 5000; ++i) {
    Tenant& tenant = shares.arrive(std::to_string(i));
    shares.leave_queue(tenant);
    shares.end(tenant);
  }
  EXPECT_LE(shares.num_tenants(), 1100);
  Tenant& greedy = shares.arrive("greedy");
  greedy.service += 100;
  Tenant& other = shares.arrive("other");
  EXPECT_EQ(other.service, 100);  // only the greedy one waits
  shares.leave_queue(greedy);
  greedy.service += 50;
  shares.end(greedy);
  EXPECT_EQ(shares.arrive("greedy").service, 150);
  EXPECT_EQ(shares.arrive("third").service, 100);
}

}  // namespace
}  // namespace cohort
