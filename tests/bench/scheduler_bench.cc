// How long the scheduler takes for a plan: next_plan() and complete() together, with 256 sequences that run. The ranks
// are made up: every sequence whose last token is in a plan samples token 7.
#include <benchmark/benchmark.h>

#include <time.h>

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <vector>

#include "kernels/core/check.h"
#include "runtime/scheduler/scheduler.h"

namespace cohort {
namespace {

constexpr int64_t kNumSeqs = 256;

// Of each sequence the tokens that it has to compute.
class Ranks {
 public:
  wire::StepResult execute(const wire::StepPlan& plan) {
    wire::StepResult result;
    result.set_step(plan.step());
    for (const int64_t id : plan.released()) pending_.erase(id);
    for (const auto& admitted : plan.admitted()) {
      pending_[admitted.id()] = admitted.prompt_size() + admitted.output_size() - admitted.num_computed();
    }
    for (const auto& work : plan.work()) {
      int64_t& pending = pending_.at(work.id());
      pending -= work.num_tokens();
      if (pending > 0) continue;
      pending = 1;  // what it samples here
      wire::SampledToken& sampled = *result.add_tokens();
      sampled.set_id(work.id());
      sampled.set_token(7);
    }
    return result;
  }

 private:
  std::unordered_map<int64_t, int64_t> pending_;
};

// Of this thread, so that other work on the machine does not count.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// A scheduler, its ranks, and requests of `prompt_length` tokens of their own and up to `max_tokens` out.
class Load {
 public:
  Load(const SchedulerOptions& options, int64_t prompt_length, int64_t max_tokens)
      : scheduler_(options), prompt_length_(prompt_length), max_tokens_(max_tokens) {}

  // Submits requests until so many wait.
  void keep_waiting(int64_t count) {
    while (scheduler_.stats().num_waiting < count) {
      GenerationRequest request;
      for (int64_t i = 0; i < prompt_length_; ++i) {
        request.prompt.push_back(static_cast<int32_t>((i * 31 + num_requests_ * 1009) % 31991));
      }
      request.max_tokens = max_tokens_ - num_requests_ % 64;  // so that not all end at once
      ++num_requests_;
      COHORT_CHECK(scheduler_.submit(std::move(request), 0).ok(), "submit");
    }
  }

  // Makes as many plans as may be under way and takes the result of the oldest: in a steady state one of each. Returns
  // the seconds that the scheduler took.
  double step() {
    double seconds = 0;
    while (scheduler_.num_under_way() < scheduler_.max_under_way()) {
      const double start = cpu_seconds();
      auto plan = scheduler_.next_plan(0);
      seconds += cpu_seconds() - start;
      if (!plan) break;
      under_way_.push_back(ranks_.execute(*plan));
      const double recycle_start = cpu_seconds();
      scheduler_.recycle(*std::move(plan));
      seconds += cpu_seconds() - recycle_start;
    }
    const double start = cpu_seconds();
    benchmark::DoNotOptimize(scheduler_.complete(under_way_.front()));
    seconds += cpu_seconds() - start;
    under_way_.pop_front();
    return seconds;
  }

  EngineStats stats() const { return scheduler_.stats(); }

 private:
  Scheduler scheduler_;
  Ranks ranks_;
  const int64_t prompt_length_;
  const int64_t max_tokens_;
  int64_t num_requests_ = 0;
  std::deque<wire::StepResult> under_way_;
};

SchedulerOptions options_of(const benchmark::State& state, int64_t num_blocks) {
  return {.vocab = 32000,
          .max_position = 1 << 20,
          .num_blocks = num_blocks,
          .max_tokens_per_step = 2048,
          .max_seqs = kNumSeqs,
          .overlap_steps = state.range(0) != 0};
}

// Time of a plan: the mean, and what one in a hundred exceeds. `num_waiting` requests wait all the time.
void measure(benchmark::State& state, Load& load, int64_t num_waiting) {
  const EngineStats before = load.stats();
  std::vector<double> seconds;
  while (state.KeepRunning()) {
    load.keep_waiting(num_waiting);
    seconds.push_back(load.step());
    state.SetIterationTime(seconds.back());
  }
  const EngineStats after = load.stats();
  const auto num_plans = static_cast<double>(state.iterations());
  const auto p99 = seconds.begin() + static_cast<std::ptrdiff_t>(0.99 * num_plans);
  std::nth_element(seconds.begin(), p99, seconds.end());
  state.counters["p99_us"] = *p99 * 1e6;
  state.counters["plans/s"] = benchmark::Counter(num_plans, benchmark::Counter::kIsRate);
  state.counters["running"] = static_cast<double>(after.num_running);
  state.counters["outputs/plan"] = static_cast<double>(after.num_output_tokens - before.num_output_tokens) / num_plans;
  state.counters["prompts/plan"] = static_cast<double>(after.num_prompt_tokens - before.num_prompt_tokens) / num_plans;
  state.counters["preempted/plan"] = static_cast<double>(after.num_preemptions - before.num_preemptions) / num_plans;
}

// All sequences decode; nobody else comes.
void BM_Decode(benchmark::State& state) {
  Load load(options_of(state, 1 << 19), 100, 1 << 19);
  load.keep_waiting(kNumSeqs);
  for (int i = 0; i < 64; ++i) load.step();
  measure(state, load, 0);
}

// As they end, others start: prompts of 512 tokens, about 256 out.
void BM_Mixed(benchmark::State& state) {
  Load load(options_of(state, 1 << 16), 512, 288);
  for (int i = 0; i < 1000; ++i) {
    load.keep_waiting(64);
    load.step();
  }
  measure(state, load, 64);
}

// The same with a cache for about 200 of them.
void BM_TooSmallCache(benchmark::State& state) {
  Load load(options_of(state, 200 * 40), 512, 288);
  for (int i = 0; i < 1000; ++i) {
    load.keep_waiting(64);
    load.step();
  }
  measure(state, load, 64);
}

#define COHORT_BENCH(name) \
  BENCHMARK(name)->Arg(0)->Arg(1)->ArgName("overlap")->Iterations(10000)->UseManualTime()->Unit(benchmark::kMicrosecond)
COHORT_BENCH(BM_Decode);
COHORT_BENCH(BM_Mixed);
COHORT_BENCH(BM_TooSmallCache);

}  // namespace
}  // namespace cohort
