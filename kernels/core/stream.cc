#include "kernels/core/stream.h"

#include <cstring>

#include "kernels/core/check.h"
#include "kernels/core/cuda_runtime.h"
#include "kernels/core/thread_pool.h"

namespace cohort {

Stream::Stream(Device device, int num_threads) : device_(device) {
  if (device.kind == DeviceKind::kCuda) {
    handle_ = cuda::create_stream(device.index);
  } else {
    pool_ = std::make_unique<ThreadPool>(num_threads > 0 ? num_threads : num_usable_cpus());
  }
}

Stream::~Stream() {
  if (handle_ != nullptr) cuda::destroy_stream(handle_);
}

int Stream::num_threads() const { return pool_ ? pool_->num_threads() : 1; }

void Stream::synchronize() {
  if (handle_ != nullptr) cuda::synchronize_stream(handle_);
}

void Stream::parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  COHORT_CHECK(pool_ != nullptr, "parallel_for on " + to_string(device_));
  pool_->parallel_for(count, grain, body);
}

Event::Event(Device device) {
  if (device.kind == DeviceKind::kCuda) handle_ = cuda::create_event(device.index);
}

Event::~Event() {
  if (handle_ != nullptr) cuda::destroy_event(handle_);
}

void Event::record(Stream& stream) {
  if (handle_ != nullptr) {
    cuda::record_event(handle_, stream.handle());
  } else {
    time_ = std::chrono::steady_clock::now();
  }
}

void Event::synchronize() {
  if (handle_ != nullptr) cuda::synchronize_event(handle_);
}

bool Event::is_done() const { return handle_ == nullptr || cuda::is_event_done(handle_); }

double Event::milliseconds_since(const Event& start) const {
  if (handle_ != nullptr) return cuda::elapsed_ms(start.handle_, handle_);
  return std::chrono::duration<double, std::milli>(time_ - start.time_).count();
}

void copy_bytes(void* destination, Device destination_device, const void* source, Device source_device,
                int64_t num_bytes) {
  if (num_bytes == 0) return;
  if (destination_device == kCpuDevice && source_device == kCpuDevice) {
    std::memcpy(destination, source, static_cast<size_t>(num_bytes));
  } else {
    cuda::copy(destination, source, num_bytes);
  }
}

}  // namespace cohort
