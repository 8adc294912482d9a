#include <nccl_device.h>

#include <cstdio>
#include <string>
#include <utility>

#include "kernels/core/buffer.h"
#include "kernels/core/cuda_check.h"
#include "parallel/comm/nccl_calls.h"
#include "parallel/comm/symmetric_memory.h"

namespace cohort {
namespace {

// NCCL tells these addresses to the device only.
__global__ void find_addresses_kernel(char** addresses, ncclWindow_t window, int num_ranks) {
  for (int rank = 0; rank < num_ranks; ++rank) {
    addresses[rank] = static_cast<char*>(ncclGetLsaPointer(window, 0, rank));
  }
}

bool all_agree(HostComm& group, bool is_so) {
  bool is_so_everywhere = true;
  for (const std::string& answer : all_gather(group, is_so ? "1" : "0")) {
    is_so_everywhere = is_so_everywhere && answer == "1";
  }
  return is_so_everywhere;
}

// NCCL 2.28 says of windows that all is done when it has only begun to.
ncclResult_t taken(ncclResult_t result) { return result == ncclSuccess ? ncclInProgress : result; }

// Where GPUs cannot reach each other's memory, NCCL 2.28 gives something of the host's for a window, or nothing.
bool is_window(ncclWindow_t window) {
  cudaPointerAttributes attributes{};
  if (window == nullptr) return false;
  COHORT_CUDA_CHECK(cudaPointerGetAttributes(&attributes, window));
  return attributes.type == cudaMemoryTypeDevice;
}

void log_error(const char* call, const std::string& text) noexcept {
  std::fprintf(stderr, "%s\n", (call + (": " + text)).c_str());
}

}  // namespace

std::unique_ptr<SymmetricMemory> SymmetricMemory::create(HostComm& group, ncclComm_t comm, Device device,
                                                         int64_t num_bytes, int byte,
                                                         std::chrono::milliseconds timeout) {
  COHORT_CUDA_CHECK(cudaSetDevice(device.index));
  // All ranks in one domain of loads and stores.
  if (!all_agree(group, ncclTeamLsa(comm).nRanks == group.size())) return nullptr;
  std::unique_ptr<SymmetricMemory> symmetric(new SymmetricMemory);
  symmetric->device_ = device;
  symmetric->num_bytes_ = num_bytes;
  nccl::check("ncclMemAlloc", ncclMemAlloc(&symmetric->memory_, static_cast<size_t>(num_bytes)));
  COHORT_CUDA_CHECK(cudaMemset(symmetric->memory_, byte, static_cast<size_t>(num_bytes)));
  COHORT_CUDA_CHECK(cudaDeviceSynchronize());

  const ncclResult_t registered = ncclCommWindowRegister(comm, symmetric->memory_, static_cast<size_t>(num_bytes),
                                                         &symmetric->window_, NCCL_WIN_COLL_SYMMETRIC);
  nccl::check("ncclCommWindowRegister", nccl::wait_for(comm, taken(registered), timeout), comm);
  if (!all_agree(group, is_window(symmetric->window_))) return nullptr;

  const auto num_address_bytes = static_cast<int64_t>(sizeof(char*)) * group.size();
  const Buffer found(num_address_bytes, device);
  find_addresses_kernel<<<1, 1>>>(static_cast<char**>(found.data()), symmetric->window_, group.size());
  COHORT_CUDA_CHECK(cudaGetLastError());
  symmetric->addresses_.resize(static_cast<size_t>(group.size()));
  COHORT_CUDA_CHECK(cudaMemcpy(symmetric->addresses_.data(), found.data(), static_cast<size_t>(num_address_bytes),
                               cudaMemcpyDeviceToHost));
  barrier(group);  // everyone's memory is filled before anyone writes to it
  return symmetric;
}

void SymmetricMemory::close(ncclComm_t comm, std::chrono::milliseconds timeout) {
  if (window_ == nullptr) return;
  const ncclResult_t result =
      nccl::wait_for(comm, taken(ncclCommWindowDeregister(comm, std::exchange(window_, nullptr))), timeout);
  if (result != ncclSuccess) log_error("symmetric memory", nccl::describe("ncclCommWindowDeregister", result, comm));
}

SymmetricMemory::~SymmetricMemory() {
  if (memory_ == nullptr) return;
  cudaSetDevice(device_.index);
  const ncclResult_t result = ncclMemFree(memory_);
  if (result != ncclSuccess) log_error("symmetric memory", nccl::describe("ncclMemFree", result, nullptr));
}

}  // namespace cohort
