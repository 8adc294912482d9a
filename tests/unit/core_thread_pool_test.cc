#include "kernels/core/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "kernels/core/check.h"
#include "kernels/core/stream.h"

namespace cohort {
namespace {

// How often each index is visited; the size of the smallest piece but the last.
struct Visits {
  explicit Visits(int64_t count) : counts(static_cast<size_t>(count)) {}
  void operator()(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++counts[static_cast<size_t>(i)];
    if (end < static_cast<int64_t>(counts.size()) && end - begin < smallest) smallest = end - begin;
  }
  std::vector<std::atomic<int>> counts;
  std::atomic<int64_t> smallest{1 << 30};
};

TEST(ThreadPool, VisitsEveryIndexOnce) {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.num_threads(), num_threads);
    for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 1000}) {
      for (const int64_t grain : {-1, 0, 1, 2, 10, 1000, 5000}) {
        Visits visits(count);
        pool.parallel_for(count, grain, std::ref(visits));
        for (const auto& n : visits.counts) ASSERT_EQ(n, 1) << count << " by " << grain;
        EXPECT_GE(visits.smallest, std::max<int64_t>(1, std::min(grain, count)));
      }
    }
    pool.parallel_for(-5, 1, [](int64_t, int64_t) { FAIL(); });
  }
}

TEST(ThreadPool, ManySmallJobs) {
  ThreadPool pool(3);
  std::vector<int64_t> sums(64);
  for (int job = 0; job < 20000; ++job) {
    pool.parallel_for(64, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sums[static_cast<size_t>(i)] += i;
    });
  }
  for (int64_t i = 0; i < 64; ++i) ASSERT_EQ(sums[static_cast<size_t>(i)], 20000 * i);
}

TEST(ThreadPool, SleepingWorkersWake) {
  ThreadPool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Visits visits(100);
    pool.parallel_for(100, 1, std::ref(visits));
    for (const auto& n : visits.counts) ASSERT_EQ(n, 1);
  }
}

TEST(ThreadPool, RethrowsAndGoesOn) {
  for (const int num_threads : {1, 2, 3}) {
    ThreadPool pool(num_threads);
    for (int job = 0; job < 200; ++job) {
      EXPECT_THROW(pool.parallel_for(100, 1,
                                     [](int64_t begin, int64_t) {
                                       if (begin >= 0) throw std::invalid_argument("no");
                                     }),
                   std::invalid_argument);
      Visits visits(100);
      pool.parallel_for(100, 1, std::ref(visits));
      for (const auto& n : visits.counts) ASSERT_EQ(n, 1);
    }
  }
}

TEST(ThreadPool, DiesUnused) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

TEST(ThreadPool, NeedsAThread) {
  EXPECT_THROW(ThreadPool(0), CheckError);
  EXPECT_GE(num_usable_cpus(), 1);
}

TEST(Stream, RunsOnItsOwnThreads) {
  Stream stream(kCpuDevice, 3);
  EXPECT_EQ(stream.num_threads(), 3);
  EXPECT_EQ(stream.device(), kCpuDevice);
  EXPECT_EQ(stream.handle(), nullptr);
  Visits visits(1000);
  stream.parallel_for(1000, 10, std::ref(visits));
  for (const auto& n : visits.counts) ASSERT_EQ(n, 1);
  stream.synchronize();
  EXPECT_EQ(Stream(kCpuDevice).num_threads(), num_usable_cpus());
}

TEST(Event, TellsTheTimeBetween) {
  Stream stream(kCpuDevice, 1);
  Event start(kCpuDevice);
  Event stop(kCpuDevice);
  start.record(stream);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  stop.record(stream);
  stop.synchronize();
  EXPECT_GE(stop.milliseconds_since(start), 19);
  EXPECT_LT(stop.milliseconds_since(start), 10000);
}

TEST(CopyBytes, OnTheCpu) {
  const int from[] = {1, 2, 3};
  int to[] = {0, 0, 0};
  copy_bytes(to, kCpuDevice, from, kCpuDevice, 2 * sizeof(int));
  EXPECT_EQ(to[1], 2);
  EXPECT_EQ(to[2], 0);
  copy_bytes(nullptr, kCpuDevice, nullptr, kCpuDevice, 0);
}

TEST(Device, Names) {
  EXPECT_EQ(to_string(kCpuDevice), "cpu");
  EXPECT_EQ(to_string(Device{DeviceKind::kCuda, 1}), "cuda:1");
  EXPECT_GE(num_cuda_devices(), 0);
}

}  // namespace
}  // namespace cohort
