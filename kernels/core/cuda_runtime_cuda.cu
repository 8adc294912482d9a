#include <atomic>
#include <cstdio>
#include <vector>

#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort::cuda {
namespace {

// Destructors must not throw; after a device fault every call reports it again, and the first report was loud.
void log_error(const char* call, cudaError_t error) noexcept {
  if (error != cudaSuccess) std::fprintf(stderr, "%s: %s\n", call, cudaGetErrorString(error));
}

__global__ void empty_kernel() {}

}  // namespace

int num_devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
    cudaGetLastError();  // having no GPU is an answer, not a fault to be found by the next call
    return 0;
  }
  COHORT_CUDA_CHECK(error);
  return count;
}

int64_t num_free_bytes(int device) {
  COHORT_CUDA_CHECK(cudaSetDevice(device));
  size_t num_free = 0;
  size_t num_total = 0;
  COHORT_CUDA_CHECK(cudaMemGetInfo(&num_free, &num_total));
  return static_cast<int64_t>(num_free);
}

std::string device_name(int device) {
  cudaDeviceProp properties{};
  COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

std::string device_uuid(int device) {
  cudaDeviceProp properties{};
  COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  std::string text;
  for (const char byte : properties.uuid.bytes) {
    for (const int digit : {byte >> 4 & 15, byte & 15}) text += "0123456789abcdef"[digit];
  }
  return text;
}

int num_multiprocessors(int device) {
  int count = 0;
  COHORT_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

int code_architecture() {
  static std::vector<std::atomic<int>> architectures(static_cast<size_t>(num_devices()));  // 0 until asked
  int device = 0;
  COHORT_CUDA_CHECK(cudaGetDevice(&device));
  std::atomic<int>& architecture = architectures[static_cast<size_t>(device)];
  if (architecture == 0) {  // of one kernel as of all: they are compiled for the same
    cudaFuncAttributes attributes{};
    COHORT_CUDA_CHECK(cudaFuncGetAttributes(&attributes, empty_kernel));
    architecture = attributes.ptxVersion;
  }
  return architecture;
}

int runtime_version() {
  int version = 0;
  COHORT_CUDA_CHECK(cudaRuntimeGetVersion(&version));
  return version;
}

int driver_version() {
  int version = 0;
  COHORT_CUDA_CHECK(cudaDriverGetVersion(&version));
  return version;
}

void set_device(int device) { COHORT_CUDA_CHECK(cudaSetDevice(device)); }

void* allocate(int64_t num_bytes, int device) {
  COHORT_CUDA_CHECK(cudaSetDevice(device));
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(num_bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t num_free = 0;
    size_t num_total = 0;
    COHORT_CUDA_CHECK(cudaMemGetInfo(&num_free, &num_total));
    COHORT_CHECK(false, "cuda:" + std::to_string(device) + " has " + std::to_string(num_free) + " bytes free of " +
                            std::to_string(num_total) + ", wanted " + std::to_string(num_bytes));
  }
  COHORT_CUDA_CHECK(error);
  return data;
}

void free(void* data, int) noexcept { log_error("cudaFree", cudaFree(data)); }

void* allocate_pinned(int64_t num_bytes) {
  void* data = nullptr;
  COHORT_CUDA_CHECK(cudaMallocHost(&data, static_cast<size_t>(num_bytes)));
  return data;
}

void free_pinned(void* data) noexcept { log_error("cudaFreeHost", cudaFreeHost(data)); }

void pin(void* data, int64_t num_bytes) {
  COHORT_CUDA_CHECK(cudaHostRegister(data, static_cast<size_t>(num_bytes), cudaHostRegisterPortable));
}

void unpin(void* data) noexcept { log_error("cudaHostUnregister", cudaHostUnregister(data)); }

void copy_async(void* destination, const void* source, int64_t num_bytes, void* stream) {
  COHORT_CUDA_CHECK(cudaMemcpyAsync(destination, source, static_cast<size_t>(num_bytes), cudaMemcpyDefault,
                                    static_cast<cudaStream_t>(stream)));
}

void copy(void* destination, const void* source, int64_t num_bytes) {
  COHORT_CUDA_CHECK(cudaMemcpy(destination, source, static_cast<size_t>(num_bytes), cudaMemcpyDefault));
  // cudaMemcpy returns once pageable memory has been staged, and from device to device at once: streams that do not
  // wait for the default one would read what has not arrived.
  COHORT_CUDA_CHECK(cudaStreamSynchronize(cudaStreamLegacy));
}

void* create_stream(int device) {
  COHORT_CUDA_CHECK(cudaSetDevice(device));
  cudaStream_t stream = nullptr;
  COHORT_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

void synchronize_stream(void* stream) { COHORT_CUDA_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream))); }

void destroy_stream(void* stream) noexcept {
  log_error("cudaStreamDestroy", cudaStreamDestroy(static_cast<cudaStream_t>(stream)));
}

void* create_event(int device) {
  COHORT_CUDA_CHECK(cudaSetDevice(device));
  cudaEvent_t event = nullptr;
  COHORT_CUDA_CHECK(cudaEventCreate(&event));
  return event;
}

void record_event(void* event, void* stream) {
  COHORT_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)));
}

void synchronize_event(void* event) { COHORT_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event))); }

bool is_event_done(void* event) {
  const cudaError_t result = cudaEventQuery(static_cast<cudaEvent_t>(event));
  if (result == cudaErrorNotReady) {
    cudaGetLastError();  // else the next check of a launch finds it
    return false;
  }
  COHORT_CUDA_CHECK(result);
  return true;
}

double elapsed_ms(void* start, void* stop) {
  float ms = 0;
  COHORT_CUDA_CHECK(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(start), static_cast<cudaEvent_t>(stop)));
  return ms;
}

void destroy_event(void* event) noexcept {
  log_error("cudaEventDestroy", cudaEventDestroy(static_cast<cudaEvent_t>(event)));
}

// Thread-local: calls of this thread that a replay could not repeat, such as taking memory, fail; those of other
// threads (NCCL's, a monitor's) are their own business.
void begin_capture(void* stream) {
  COHORT_CUDA_CHECK(cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeThreadLocal));
}

void* end_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  COHORT_CUDA_CHECK(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  log_error("cudaGraphDestroy", cudaGraphDestroy(graph));
  COHORT_CUDA_CHECK(error);
  return executable;
}

void cancel_capture(void* stream) noexcept {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph);  // says again what broke the capture
  if (graph != nullptr) log_error("cudaGraphDestroy", cudaGraphDestroy(graph));
  cudaGetLastError();
}

void launch_graph(void* graph, void* stream) {
  COHORT_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)));
}

void destroy_graph(void* graph) noexcept {
  log_error("cudaGraphExecDestroy", cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
}

}  // namespace cohort::cuda
