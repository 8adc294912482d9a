// The monitor: what it notices, how soon, and what it must not take for a failure.
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "parallel/comm/flight_recorder.h"
#include "parallel/health/monitor.h"
#include "tests/parallel/rank_test.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using test::run_ranks;

// A sanitizer on a busy machine stretches time: pauses are short against the timeout, waits are long against it.
constexpr auto kInterval = 20ms;
constexpr auto kTimeout = 2s;
constexpr auto kPatience = 60s;

// What a monitor reported, for a test to wait for.
class Report {
 public:
  Monitor::OnFailure callback() {
    return [this](const std::string& reason) {
      const std::lock_guard lock(mutex_);
      reasons_.push_back(reason);
      changed_.notify_all();
    };
  }
  // The first reason, or "" after the patience.
  std::string wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return !reasons_.empty(); });
    return reasons_.empty() ? "" : reasons_[0];
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return reasons_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> reasons_;
};

MonitorOptions options_for(const HostComm& world) {
  MonitorOptions options{.interval = kInterval, .timeout = kTimeout, .peer_names = {}};
  for (int peer = 0; peer < world.size(); ++peer) options.peer_names.push_back("rank " + std::to_string(peer));
  return options;
}

TEST(MonitorTest, RanksThatLiveAreLeftAlone) {
  run_ranks(4, [](HostComm& world) {
    Report report;
    {
      Monitor monitor(world.split(0), options_for(world), report.callback());
      std::this_thread::sleep_for(3 * kTimeout / 2);
      barrier(world);
    }
    EXPECT_EQ(report.count(), 0u);
  });
}

TEST(MonitorTest, ASilentRankIsNamed) {
  run_ranks(3, [](HostComm& world) {
    std::unique_ptr<HostComm> comm = world.split(0);
    if (world.rank() != 2) {
      Report report;
      const Monitor monitor(std::move(comm), options_for(world), report.callback());
      if (world.rank() == 0) {
        EXPECT_NE(report.wait().find("rank 2 has not been heard for"), std::string::npos);
        EXPECT_EQ(report.count(), 1u);
      }
      barrier(world);
      return;
    }
    barrier(world);  // alive, but silent
  });
}

TEST(MonitorTest, ASilentRankZeroIsNoticedByAll) {
  run_ranks(3, [](HostComm& world) {
    std::unique_ptr<HostComm> comm = world.split(0);
    if (world.rank() != 0) {
      Report report;
      const Monitor monitor(std::move(comm), options_for(world), report.callback());
      EXPECT_NE(report.wait().find("rank 0 has not been heard for"), std::string::npos);
      barrier(world);
      return;
    }
    barrier(world);
  });
}

TEST(MonitorTest, AStepThatTakesTooLongIsReported) {
  run_ranks(1, [](HostComm& world) {
    Report report;
    Monitor monitor(world.split(0), options_for(world), report.callback());
    {
      const Deadline in_time(&monitor, "a step", kPatience);
      std::this_thread::sleep_for(2 * kInterval);
    }
    EXPECT_EQ(report.count(), 0u);
    const Deadline overdue(&monitor, "a step", 30ms);
    EXPECT_EQ(report.wait(), "a step has taken more than 0.0 s");
  });
}

TEST(MonitorTest, IdleRanksHaveNoDeadline) {
  run_ranks(1, [](HostComm& world) {
    Report report;
    Monitor monitor(world.split(0), options_for(world), report.callback());
    { const Deadline step(&monitor, "a step", 500ms); }
    std::this_thread::sleep_for(800ms);
    EXPECT_EQ(report.count(), 0u);
  });
}

TEST(FlightRecorderTest, KeepsTheLastEntriesInOrder) {
  FlightRecorder recorder;
  for (int i = 0; i < 100; ++i) {
    recorder.set_step(i);
    const FlightRecord record(&recorder, "send", "next", 1000 + i, 1);
  }
  recorder.begin("all_reduce", "tensor", 20480, -1);
  const std::string dump = recorder.dump();
  EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), static_cast<std::ptrdiff_t>(FlightRecorder::kCapacity));
  EXPECT_EQ(dump.find("step 36 "), std::string::npos);  // overwritten
  EXPECT_LT(dump.find("step 37 send next peer 1 1037 bytes"), dump.find("step 99 send next peer 1 1099 bytes"));
  EXPECT_NE(dump.find("step 99 all_reduce tensor 20480 bytes"), std::string::npos);
  EXPECT_TRUE(dump.ends_with("not done\n")) << dump;
  recorder.clear();
  EXPECT_EQ(recorder.dump(), "");
}

TEST(FlightRecorderTest, LogsEveryEntryInTheOrderInWhichTheyBegin) {
  constexpr size_t kNumCalls = 2 * FlightRecorder::kCapacity;
  FlightRecorder recorder;
  { const FlightRecord before(&recorder, "send", "next", 1, 0); }
  std::vector<FlightRecorder::Call> log;
  recorder.set_log(&log);
  {
    const FlightRecord step(&recorder, "step", "engine", 0, -1);  // its place in the ring goes to another
    for (size_t i = 0; i < kNumCalls; ++i) {
      const FlightRecord call(&recorder, "all_reduce", "tensor", static_cast<int64_t>(i), -1);
    }
  }
  recorder.set_log(nullptr);
  { const FlightRecord after(&recorder, "send", "next", 1, 0); }
  ASSERT_EQ(log.size(), 1 + kNumCalls);
  EXPECT_STREQ(log[0].kind, "step");
  EXPECT_GE(log[0].end_ns, log.back().end_ns);
  for (size_t i = 1; i < log.size(); ++i) {
    EXPECT_STREQ(log[i].where, "tensor");
    EXPECT_EQ(log[i].num_bytes, static_cast<int64_t>(i) - 1);
    EXPECT_LE(log[i - 1].begin_ns, log[i].begin_ns);
    EXPECT_LE(log[i].begin_ns, log[i].end_ns);
  }
}

}  // namespace
}  // namespace cohort
