// PinnedBuffer: host memory that a device writes to by itself, so that bringing results home is queued and does not
// wait. On the CPU it is ordinary memory. Move-only. One thread.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"

namespace cohort {

class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  // For copies from `device`. Throws as Buffer does.
  PinnedBuffer(int64_t num_bytes, Device device);
  PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    PinnedBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~PinnedBuffer();

  template <typename T>
  T* data() const {
    return static_cast<T*>(data_);
  }
  int64_t num_bytes() const { return num_bytes_; }

  // Queues the copy of `num_bytes` from memory of the stream's device to the first bytes of this. Throws CheckError if
  // there is no room.
  void copy_from(const void* source, int64_t num_bytes, Stream& stream) const;

 private:
  void swap(PinnedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    std::swap(memory_, other.memory_);
  }

  void* data_ = nullptr;
  int64_t num_bytes_ = 0;
  Buffer memory_;  // on the CPU
};

}  // namespace cohort
