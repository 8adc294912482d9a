#include "kernels/core/pinned_buffer.h"

#include <cstring>
#include <string>

#include "kernels/core/check.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort {

PinnedBuffer::PinnedBuffer(int64_t num_bytes, Device device) : num_bytes_(num_bytes) {
  if (num_bytes == 0) return;
  if (device.kind == DeviceKind::kCuda) {
    data_ = cuda::allocate_pinned(num_bytes);
  } else {
    memory_ = Buffer(num_bytes, device);
    data_ = memory_.data();
  }
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr && data_ != memory_.data()) cuda::free_pinned(data_);
}

void PinnedBuffer::copy_from(const void* source, int64_t num_bytes, Stream& stream) const {
  COHORT_CHECK(num_bytes <= num_bytes_, std::to_string(num_bytes) + " bytes into " + std::to_string(num_bytes_));
  if (num_bytes == 0) return;
  if (stream.device() == kCpuDevice) {
    std::memcpy(data_, source, static_cast<size_t>(num_bytes));
  } else {
    cuda::copy_async(data_, source, num_bytes, stream.handle());
  }
}

}  // namespace cohort
