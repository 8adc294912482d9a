// What core needs of CUDA, without a CUDA include. Two implementations: cuda_runtime_cuda.cc, and
// cuda_runtime_absent.cc in a build without CUDA, where there are no devices. All but the destroy functions throw
// CheckError with CUDA's code and text.
#pragma once

#include <cstdint>
#include <string>

namespace cohort::cuda {

int num_devices();  // 0 where there is no driver or no GPU
int64_t num_free_bytes(int device);
std::string device_name(int device);
std::string device_uuid(int device);  // 32 hexadecimal digits, of no other device of the world
int num_multiprocessors(int device);
int runtime_version();  // 13000 for 13.0
int driver_version();   // likewise: the latest that the driver can run

void set_device(int device);  // for the calls of this thread; a thread begins with the first device
void* allocate(int64_t num_bytes, int device);
void free(void* data, int device) noexcept;
void* allocate_pinned(int64_t num_bytes);  // host memory that the device copies by itself
void free_pinned(void* data) noexcept;
void pin(void* data, int64_t num_bytes);  // memory that somebody else took, as if by allocate_pinned
void unpin(void* data) noexcept;
void copy_async(void* destination, const void* source, int64_t num_bytes, void* stream);  // queued
void copy(void* destination, const void* source, int64_t num_bytes);                      // any two places, synchronous

void* create_stream(int device);
void synchronize_stream(void* stream);
void destroy_stream(void* stream) noexcept;

void* create_event(int device);
void record_event(void* event, void* stream);
void synchronize_event(void* event);
bool is_event_done(void* event);
double elapsed_ms(void* start, void* stop);
void destroy_event(void* event) noexcept;

void begin_capture(void* stream);
void* end_capture(void* stream);             // what was captured, ready to launch
void cancel_capture(void* stream) noexcept;  // after a failure between the two
void launch_graph(void* graph, void* stream);
void destroy_graph(void* graph) noexcept;

}  // namespace cohort::cuda
