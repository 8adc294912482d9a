// DeviceGraph: work of a stream, recorded once and submitted by one call as often as wanted (a CUDA graph).
//
// A replay does what was recorded, with the same memory: what changes from replay to replay must be in memory that the
// work reads. CUDA only. Move-only. One thread.
#pragma once

#include <functional>
#include <utility>

#include "kernels/core/stream.h"

namespace cohort {

class DeviceGraph {
 public:
  DeviceGraph() = default;
  // Records what `body` submits to `stream`, of a CUDA device; nothing runs. `body` may neither wait for the device nor
  // take memory of it. Throws what `body` throws, and CheckError for what cannot be recorded.
  static DeviceGraph capture(Stream& stream, const std::function<void()>& body);
  DeviceGraph(DeviceGraph&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  DeviceGraph& operator=(DeviceGraph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~DeviceGraph();

  bool empty() const { return handle_ == nullptr; }
  // Submits the work. Requires that it is not empty.
  void launch(Stream& stream) const;

 private:
  void* handle_ = nullptr;  // cudaGraphExec_t
};

}  // namespace cohort
