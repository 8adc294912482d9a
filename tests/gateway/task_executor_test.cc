#include "launcher/gateway/task_executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace cohort {
namespace {

// The part of an event loop that posting needs.
class Loop {
 public:
  void post(std::function<void()> function) {
    {
      const std::lock_guard lock(mutex_);
      functions_.push_back(std::move(function));
    }
    changed_.notify_one();
  }
  void run(int count) {
    for (; count > 0; --count) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !functions_.empty(); });
      const auto function = std::move(functions_.back());
      functions_.pop_back();
      lock.unlock();
      function();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> functions_;
};

TEST(PoolExecutor, RunsTasksElsewhereAndPostsWhatIsDoneAfterThem) {
  constexpr int kNumTasks = 200;
  Loop loop;
  PoolExecutor pool(3, [&](std::function<void()> function) { loop.post(std::move(function)); });
  const std::thread::id here = std::this_thread::get_id();
  std::vector<int> results(kNumTasks);
  int num_done = 0;
  for (int i = 0; i < kNumTasks; ++i) {
    pool.run(
        [&results, i, here] {
          EXPECT_NE(std::this_thread::get_id(), here);
          results[static_cast<size_t>(i)] = i;
        },
        [&, i] {
          EXPECT_EQ(std::this_thread::get_id(), here);
          EXPECT_EQ(results[static_cast<size_t>(i)], i);
          ++num_done;
        });
  }
  loop.run(kNumTasks);
  EXPECT_EQ(num_done, kNumTasks);
}

TEST(PoolExecutor, EndsWithTasksWaiting) {
  std::atomic<int> num_run = 0;
  {
    PoolExecutor pool(1, [](const std::function<void()>&) {});
    for (int i = 0; i < 100; ++i) {
      pool.run(
          [&] {
            ++num_run;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          },
          [] {});
    }
  }
  EXPECT_LE(num_run, 100);
}

TEST(InlineExecutor, RunsBothAtOnce) {
  InlineExecutor executor;
  std::string order;
  executor.run([&] { order += 'a'; }, [&] { order += 'b'; });
  EXPECT_EQ(order, "ab");
}

}  // namespace
}  // namespace cohort
