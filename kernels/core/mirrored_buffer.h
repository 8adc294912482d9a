// MirroredBuffer: host memory and its mirror on a device, for what the host hands the device in every step. On the CPU
// both are the same memory and the copies do nothing. PinnedBuffer is the way back.
//
// The host memory is pinned, so that copies are queued and do not wait; who writes it while a copy is under way changes
// what arrives. Move-only. One thread.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"

namespace cohort {

class MirroredBuffer {
 public:
  MirroredBuffer() = default;
  // Takes both memories. Throws as Buffer does.
  MirroredBuffer(int64_t num_bytes, Device device);
  MirroredBuffer(MirroredBuffer&& other) noexcept { swap(other); }
  MirroredBuffer& operator=(MirroredBuffer&& other) noexcept {
    MirroredBuffer(std::move(other)).swap(*this);
    return *this;
  }
  ~MirroredBuffer();

  char* host() const { return host_; }
  char* device_data() const { return static_cast<char*>(mirror_.data()); }
  Device device() const { return mirror_.device(); }
  int64_t num_bytes() const { return mirror_.num_bytes(); }

  // Queues the copy of bytes [begin, end) to the device on `stream`.
  void upload(int64_t begin, int64_t end, Stream& stream) const;

 private:
  void swap(MirroredBuffer& other) noexcept {
    std::swap(host_, other.host_);
    std::swap(mirror_, other.mirror_);
  }

  char* host_ = nullptr;  // the mirror's own memory on the CPU
  Buffer mirror_;
};

}  // namespace cohort
