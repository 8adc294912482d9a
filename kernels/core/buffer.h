// Buffer: the move-only owner of a run of device memory.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/core/device.h"

namespace cohort {

class Buffer {
 public:
  // CPU buffers begin on a cache line and fill whole ones, so that vector loads never straddle an end.
  static constexpr int64_t kAlignment = 64;

  Buffer() = default;
  // Throws std::bad_alloc, or CheckError with the size and the device, when there is not so much memory.
  Buffer(int64_t num_bytes, Device device);
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer();

  void* data() const { return data_; }
  int64_t num_bytes() const { return num_bytes_; }
  Device device() const { return device_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    std::swap(device_, other.device_);
  }

  void* data_ = nullptr;
  int64_t num_bytes_ = 0;
  Device device_;
};

}  // namespace cohort
