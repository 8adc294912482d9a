#include "kernels/core/mirrored_buffer.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort {
namespace {

bool is_cuda(const Buffer& buffer) { return buffer.device().kind == DeviceKind::kCuda; }

}  // namespace

MirroredBuffer::MirroredBuffer(int64_t num_bytes, Device device) : mirror_(num_bytes, device) {
  host_ = static_cast<char*>(is_cuda(mirror_) ? cuda::allocate_pinned(num_bytes) : mirror_.data());
}

MirroredBuffer::~MirroredBuffer() {
  if (is_cuda(mirror_)) cuda::free_pinned(host_);
}

void MirroredBuffer::upload(int64_t begin, int64_t end, Stream& stream) const {
  COHORT_CHECK(begin >= 0 && begin <= end && end <= num_bytes() && stream.device() == device(), std::to_string(end));
  if (is_cuda(mirror_)) cuda::copy_async(device_data() + begin, host_ + begin, end - begin, stream.handle());
}

}  // namespace cohort
