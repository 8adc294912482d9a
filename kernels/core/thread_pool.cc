#include "kernels/core/thread_pool.h"

#include <sched.h>

#include <algorithm>

#include "kernels/core/check.h"

namespace cohort {
namespace {

// About 20 us of waiting without the kernel: the gap between two ops of a step is shorter, a futex wake is not.
constexpr int kNumSpins = 1000;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <typename T>
void wait_while_equal(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kNumSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_cpu();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

int num_usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

ThreadPool::ThreadPool(int num_threads) {
  COHORT_CHECK(num_threads >= 1, std::to_string(num_threads));
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { worker_loop(); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (workers_.empty() || count <= grain) {
    body(0, count);
    return;
  }
  // Four pieces a thread even out what the system takes away from one of them.
  const int64_t num_pieces = int64_t{4} * num_threads();
  body_ = &body;
  count_ = count;
  piece_size_ = std::max(grain, (count + num_pieces - 1) / num_pieces);
  error_ = nullptr;
  failed_.store(false, std::memory_order_relaxed);
  next_.store(0, std::memory_order_relaxed);
  num_busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();

  run_pieces();
  for (int busy = num_busy_.load(std::memory_order_acquire); busy != 0;
       busy = num_busy_.load(std::memory_order_acquire)) {
    wait_while_equal(num_busy_, busy);
  }
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::run_pieces() {
  for (;;) {
    const int64_t begin = next_.fetch_add(piece_size_, std::memory_order_relaxed);
    if (begin >= count_) return;
    try {
      (*body_)(begin, std::min(begin + piece_size_, count_));
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
      return;
    }
  }
}

void ThreadPool::worker_loop() {
  uint32_t seen = 0;
  for (;;) {
    wait_while_equal(generation_, seen);
    // A job ends only when every worker has finished it, so no generation is ever missed.
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    run_pieces();
    if (num_busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) num_busy_.notify_one();
  }
}

}  // namespace cohort
