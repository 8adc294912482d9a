#include "kernels/core/check.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

int num_devices() { return 0; }
int64_t num_free_bytes(int) { absent(); }
std::string device_name(int) { absent(); }
std::string device_uuid(int) { absent(); }
int num_multiprocessors(int) { absent(); }
int runtime_version() { absent(); }
int driver_version() { absent(); }
void set_device(int) { absent(); }
void* allocate(int64_t, int) { absent(); }
void free(void*, int) noexcept {}
void* allocate_pinned(int64_t) { absent(); }
void free_pinned(void*) noexcept {}
void pin(void*, int64_t) { absent(); }
void unpin(void*) noexcept {}
void copy_async(void*, const void*, int64_t, void*) { absent(); }
void copy(void*, const void*, int64_t) { absent(); }
void* create_stream(int) { absent(); }
void synchronize_stream(void*) { absent(); }
void destroy_stream(void*) noexcept {}
void* create_event(int) { absent(); }
void record_event(void*, void*) { absent(); }
void synchronize_event(void*) { absent(); }
bool is_event_done(void*) { absent(); }
double elapsed_ms(void*, void*) { absent(); }
void destroy_event(void*) noexcept {}
void begin_capture(void*) { absent(); }
void* end_capture(void*) { absent(); }
void cancel_capture(void*) noexcept {}
void launch_graph(void*, void*) { absent(); }
void destroy_graph(void*) noexcept {}

}  // namespace cohort::cuda
