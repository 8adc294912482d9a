// Stream: an order of work on a device, with the resources that the work may use. Event: a point in a stream.
//
// On the CPU a stream runs each op before the call returns, on a pool of threads of its own; on CUDA it queues.
// One thread submits to a stream at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/core/device.h"

namespace cohort {

class ThreadPool;

class Stream {
 public:
  // `num_threads`: CPU threads for its ops, the submitting one counted; 0 takes as many as the process may run on.
  // Ignored for CUDA devices.
  explicit Stream(Device device, int num_threads = 0);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const { return device_; }
  int num_threads() const;  // 1 on CUDA

  // Returns when all work submitted so far is done; throws what the device reports.
  void synchronize();

  // For CPU ops: runs body(begin, end) over disjoint parts of [0, count), each of at least `grain` but the last, on
  // the threads of the pool, and returns when all are done. How the range is cut depends on the number of threads,
  // so a result must not. An exception from a body is rethrown. A body must not call parallel_for.
  void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

  void* handle() const { return handle_; }  // cudaStream_t; null on the CPU

 private:
  Device device_;
  std::unique_ptr<ThreadPool> pool_;  // null on CUDA
  void* handle_ = nullptr;
};

class Event {
 public:
  explicit Event(Device device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(Stream& stream);
  // Returns when the work before the record is done.
  void synchronize();
  // Whether that work is done.
  bool is_done() const;
  // Milliseconds of the device's time since `start`. Requires that both are recorded and done.
  double milliseconds_since(const Event& start) const;

 private:
  void* handle_ = nullptr;                        // cudaEvent_t; null on the CPU
  std::chrono::steady_clock::time_point time_{};  // on the CPU
};

// Copies between any two devices and returns when it is done: for loading and tests, not for a step.
void copy_bytes(void* destination, Device destination_device, const void* source, Device source_device,
                int64_t num_bytes);

}  // namespace cohort
