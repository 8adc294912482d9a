// ThreadPool: the fork-join threads of a CPU stream.
//
// Not OpenMP: ranks run as threads of one process in tests, each with a pool of its own size, and ThreadSanitizer
// must see the synchronisation, which it does not in libgomp.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace cohort {

class ThreadPool {
 public:
  using Body = std::function<void(int64_t begin, int64_t end)>;

  // `num_threads` of at least 1, the calling thread counted.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // See Stream::parallel_for. One caller at a time; a body must not call it.
  void parallel_for(int64_t count, int64_t grain, const Body& body);

 private:
  void worker_loop();
  void run_pieces();

  std::vector<std::thread> workers_;

  // The current job. Written before generation_ is raised, read after.
  const Body* body_ = nullptr;
  int64_t count_ = 0;
  int64_t piece_size_ = 0;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};

  std::atomic<int64_t> next_{0};         // first index nobody has taken
  std::atomic<uint32_t> generation_{0};  // raised once a job, and to stop
  std::atomic<int> num_busy_{0};         // workers that have not finished the job
  std::atomic<bool> stop_{false};
};

// CPUs that this process may run on (its affinity mask), at least 1.
int num_usable_cpus();

}  // namespace cohort
