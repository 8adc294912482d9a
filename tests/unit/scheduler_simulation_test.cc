// Random schedules over simulated ranks: whatever else runs, every request gets the tokens that it gets alone, what
// README.md of the scheduler promises holds after every operation, and in the end every block is back.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/unit/simulated_ranks.h"

namespace cohort {
namespace {

using test::SimulatedOutput;
using test::SimulatedRanks;

constexpr int64_t kVocab = 40;

struct Totals {
  int64_t num_preemptions = 0;
  int64_t num_prefix_hits = 0;
  int64_t num_cancelled = 0;
  int64_t num_errors = 0;
  int64_t num_stopped = 0;
  int64_t num_answered = 0;
};

class Simulation {
 public:
  Simulation(uint64_t seed, const SchedulerOptions& options)
      : random_(seed),
        options_(options),
        num_stages_(static_cast<int>(options.num_micro_batches)),
        scheduler_(options),
        ranks_(options, num_stages_) {}

  void run(int num_requests) {
    for (int i = 0; i < num_requests || scheduler_.has_work();) {
      const int64_t dice = pick(100);
      if (dice < 12 && i < num_requests) {
        submit();
        ++i;
      } else if (dice < 13) {
        cancel();
      } else if (dice < 45) {
        plan();
      } else if (dice < 80) {
        ranks_.advance(random_);
      } else {
        complete();
      }
      now_s_ += 0.001 * static_cast<double>(pick(10));
      ASSERT_NO_THROW(scheduler_.check_invariants());
      if (testing::Test::HasFailure()) return;
    }
    expect_everything_is_back();
  }

  void add_to(Totals& totals) const {
    const EngineStats stats = scheduler_.stats();
    totals.num_preemptions += stats.num_preemptions;
    totals.num_prefix_hits += stats.num_prefix_hits;
    totals.num_cancelled += stats.num_cancelled;
    totals.num_errors += stats.num_errors;
    for (const auto& [id, live] : requests_) {
      totals.num_answered += live.output.finish != FinishReason::kNone ? 1 : 0;
      totals.num_stopped += live.output.finish == FinishReason::kStop ? 1 : 0;
    }
  }

 private:
  struct Live {
    GenerationRequest request;
    SimulatedOutput output;
    bool is_cancelled = false;
    bool has_blocks = false;
    int64_t num_pending = 0;      // tokens known and in no plan, while it has blocks
    int64_t num_passed_over = 0;  // plans made since it could have gone on by one token
  };

  int64_t pick(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  // Prompts that begin alike, of a few tenants and salts; lengths around the edges of blocks.
  GenerationRequest make_request() {
    GenerationRequest request;
    const int64_t kind = pick(3);
    const int64_t length = 1 + pick(40);
    for (int64_t i = 0; i < length; ++i) {
      const bool is_own = i >= 30 || (i > 8 && pick(20) == 0);
      request.prompt.push_back(static_cast<int32_t>(is_own ? pick(kVocab) : (i * 7 + kind) % kVocab));
    }
    request.max_tokens = 1 + pick(14);
    request.sampling.seed = static_cast<uint64_t>(pick(20));
    if (pick(5) == 0) request.sampling.presence_penalty = 1;
    if (pick(2) == 0) request.stop_ids = {3, 11, 29, 1000000};
    if (pick(4) == 0) request.min_tokens = pick(request.max_tokens + 1);
    request.ignore_stop_ids = pick(6) == 0;
    request.priority = static_cast<int32_t>(pick(3)) - 1;
    request.tenant = std::string(1, static_cast<char>('a' + pick(3)));
    if (pick(4) == 0) request.cache_salt = "salt";
    return request;
  }

  void submit() {
    GenerationRequest request = make_request();
    const auto id = scheduler_.submit(request, now_s_);
    ASSERT_TRUE(id.ok()) << id.status().message();
    requests_[*id].request = std::move(request);
  }

  void cancel() {
    const int64_t id = static_cast<int64_t>(requests_.size()) - pick(20);  // may have ended, or be none
    scheduler_.cancel(id);
    const auto found = requests_.find(id);
    if (found != requests_.end() && found->second.output.finish == FinishReason::kNone)
      found->second.is_cancelled = true;
  }

  void plan() {
    if (scheduler_.num_under_way() >= scheduler_.max_under_way()) return;
    const bool must_have_one = scheduler_.has_work() && scheduler_.num_under_way() == 0;
    auto plan = scheduler_.next_plan(now_s_);
    scheduler_.check_invariants();
    if (!plan) {
      EXPECT_FALSE(must_have_one);
      return;
    }
    for (const int64_t id : plan->released()) requests_.at(id).has_blocks = false;
    for (const auto& admitted : plan->admitted()) {
      Live& live = requests_.at(admitted.id());
      live.has_blocks = true;
      live.num_pending = admitted.prompt_size() + admitted.output_size() - admitted.num_computed();
      live.num_passed_over = 0;
    }
    std::map<int64_t, int64_t> planned;
    for (const auto& work : plan->work()) EXPECT_TRUE(planned.emplace(work.id(), work.num_tokens()).second);
    for (auto& [id, live] : requests_) {
      if (const auto work = planned.find(id); work != planned.end()) {
        live.num_pending -= work->second;
        live.num_passed_over = 0;
      } else if (live.has_blocks && live.num_pending == 1 && !live.output.tokens.empty() && !is_over(live)) {
        ++live.num_passed_over;
        // With one stage a decode is in every plan; with several in one of a few, as others come and go.
        EXPECT_LT(live.num_passed_over, num_stages_ == 1 ? 1 : 2 * num_stages_) << "request " << id << " starves";
      }
    }
    ranks_.start(*plan);
    scheduler_.recycle(*std::move(plan));
  }

  void complete() {
    if (!ranks_.has_result()) return;
    const wire::StepResult result = ranks_.take_result();
    for (const TokenEvent& event : scheduler_.complete(result)) {
      Live& live = requests_.at(event.request_id);
      EXPECT_FALSE(is_over(live));
      if (live.output.tokens.empty()) {
        EXPECT_GE(event.queue_s, 0);
        EXPECT_EQ(event.num_cached_tokens % options_.block_size, 0);
        EXPECT_LT(event.num_cached_tokens, static_cast<int64_t>(live.request.prompt.size()));
      }
      if (event.finish != FinishReason::kError) live.output.tokens.push_back(event.token);
      ++live.num_pending;
      live.output.finish = event.finish;
      if (event.finish == FinishReason::kNone) continue;
      const SimulatedOutput alone = test::simulate_alone(live.request, options_, num_stages_);
      EXPECT_EQ(live.output, alone) << "request " << event.request_id;
    }
  }

  static bool is_over(const Live& live) { return live.is_cancelled || live.output.finish != FinishReason::kNone; }

  void expect_everything_is_back() {
    for (const auto& [id, live] : requests_) EXPECT_TRUE(is_over(live)) << "request " << id;
    EXPECT_EQ(scheduler_.blocks().num_owned(), 0);
    EXPECT_EQ(scheduler_.blocks().num_available(), options_.num_blocks);
    if (!options_.shares_prefixes) {
      EXPECT_EQ(scheduler_.blocks().num_cached(), 0);
    }
    const EngineStats stats = scheduler_.stats();
    EXPECT_EQ(stats.num_running + stats.num_waiting, 0);
    // One more, whose plans tell the ranks of all that have ended.
    GenerationRequest last;
    last.prompt = {1};
    last.max_tokens = 2;
    ASSERT_TRUE(scheduler_.submit(last, now_s_).ok());
    while (scheduler_.has_work()) {
      if (const auto plan = scheduler_.next_plan(now_s_)) ranks_.start(*plan);
      while (ranks_.advance(random_)) continue;
      scheduler_.complete(ranks_.take_result());
    }
    EXPECT_EQ(ranks_.num_sequences(), 1u);
  }

  std::mt19937_64 random_;
  const SchedulerOptions options_;
  const int num_stages_;
  Scheduler scheduler_;
  SimulatedRanks ranks_;
  double now_s_ = 0;
  std::map<int64_t, Live> requests_;
};

struct Kind {
  const char* name;
  int64_t num_micro_batches;
  bool overlap_steps;
  bool shares_prefixes;
  bool has_sources = false;
};

class SimulationTest : public testing::TestWithParam<Kind> {};

TEST_P(SimulationTest, EveryRequestGetsWhatItGetsAlone) {
  Totals totals;
  for (uint64_t seed = 0; seed < 100 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const int64_t block_size = 1 + static_cast<int64_t>(seed % 5);
    const SchedulerOptions options{.vocab = kVocab,
                                   .max_position = 64,
                                   .block_size = block_size,
                                   // Room for the longest and a little more, or for several.
                                   .num_blocks = (seed % 3 == 2 ? 200 : 60) / block_size,
                                   // A source is in one step.
                                   .max_tokens_per_step = GetParam().has_sources ? 64
                                                          : seed % 2 == 0        ? 8
                                                                                 : 30,
                                   .max_seqs = 8,
                                   .num_micro_batches = GetParam().num_micro_batches,
                                   .overlap_steps = GetParam().overlap_steps,
                                   .shares_prefixes = GetParam().shares_prefixes,
                                   .decoder_start_token = GetParam().has_sources ? std::optional(5) : std::nullopt};
    Simulation simulation(seed, options);
    simulation.run(80);
    simulation.add_to(totals);
  }
  EXPECT_GT(totals.num_preemptions, 100);
  EXPECT_EQ(totals.num_prefix_hits > 1000, GetParam().shares_prefixes) << totals.num_prefix_hits;
  EXPECT_GT(totals.num_cancelled, 50);
  EXPECT_GT(totals.num_errors, 20);
  EXPECT_GT(totals.num_stopped, 100);
  EXPECT_GT(totals.num_answered, 2500);
}

INSTANTIATE_TEST_SUITE_P(, SimulationTest,
                         testing::Values(Kind{"OneStage", 1, false, true}, Kind{"Overlap", 1, true, true},
                                         Kind{"TwoStages", 2, false, true}, Kind{"FourStages", 4, false, true},
                                         Kind{"NothingShared", 1, true, false}, Kind{"Sources", 1, true, false, true},
                                         Kind{"SourcesTwoStages", 2, false, false, true}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cohort
