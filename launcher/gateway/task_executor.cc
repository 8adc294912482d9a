#include "launcher/gateway/task_executor.h"

#include <utility>

namespace cohort {

PoolExecutor::PoolExecutor(int num_threads, Post post) : post_(std::move(post)) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

PoolExecutor::~PoolExecutor() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PoolExecutor::run(std::function<void()> task, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({std::move(task), std::move(done)});
  }
  changed_.notify_one();
}

void PoolExecutor::work() {
  while (true) {
    Item item;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !items_.empty(); });
      if (stop_) return;
      item = std::move(items_.front());
      items_.pop_front();
    }
    item.task();
    item.task = nullptr;  // what it holds goes here, not on the io thread
    post_(std::move(item.done));
  }
}

}  // namespace cohort
