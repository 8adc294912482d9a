// TaskExecutor: how the handlers of the gateway's protocols leave what takes long to other threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cohort {

class TaskExecutor {
 public:
  virtual ~TaskExecutor() = default;
  // Runs `task` on some thread and then `done` on the gateway's io thread, from which it is called.
  virtual void run(std::function<void()> task, std::function<void()> done) = 0;
};

// Runs both before run() returns.
class InlineExecutor final : public TaskExecutor {
 public:
  void run(std::function<void()> task, std::function<void()> done) override {
    task();
    done();
  }
};

// Threads of its own. A task must not throw.
class PoolExecutor final : public TaskExecutor {
 public:
  // Has the io thread call a function; called from the pool's threads.
  using Post = std::function<void(std::function<void()>)>;

  // `num_threads` of at least 1.
  PoolExecutor(int num_threads, Post post);
  // Waits for the tasks under way; those that have not begun are dropped, with what is done after them.
  ~PoolExecutor() override;
  PoolExecutor(const PoolExecutor&) = delete;
  PoolExecutor& operator=(const PoolExecutor&) = delete;

  void run(std::function<void()> task, std::function<void()> done) override;

 private:
  struct Item {
    std::function<void()> task;
    std::function<void()> done;
  };

  void work();

  Post post_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;  // guarded by mutex_
  bool stop_ = false;       // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace cohort
