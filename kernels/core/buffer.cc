#include "kernels/core/buffer.h"

#include <cstdlib>
#include <limits>
#include <new>

#include "kernels/core/check.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort {

Buffer::Buffer(int64_t num_bytes, Device device) : num_bytes_(num_bytes), device_(device) {
  COHORT_CHECK(num_bytes >= 0, std::to_string(num_bytes));
  if (num_bytes == 0) return;
  if (device.kind == DeviceKind::kCuda) {
    data_ = cuda::allocate(num_bytes, device.index);
    return;
  }
  if (num_bytes > std::numeric_limits<int64_t>::max() - kAlignment) throw std::bad_alloc();
  const int64_t padded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  data_ = std::aligned_alloc(kAlignment, static_cast<size_t>(padded));
  if (data_ == nullptr) throw std::bad_alloc();
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (device_.kind == DeviceKind::kCuda) {
    cuda::free(data_, device_.index);
  } else {
    std::free(data_);
  }
}

}  // namespace cohort
