// SymmetricMemory: memory of each GPU of a communicator that all its GPUs can store to and load from, by NCCL's
// windows. Internal to this folder; only in a build with CUDA.
#pragma once

#include <nccl.h>

#include <chrono>
#include <memory>
#include <vector>

#include "kernels/core/device.h"
#include "parallel/comm/host_comm.h"

namespace cohort {

class SymmetricMemory {
 public:
  // Takes `num_bytes` on each rank and fills them with `byte`. Every rank of `group`, which are those of `comm`, takes
  // part. Null on all ranks alike where they cannot reach each other's memory: on several hosts without a common NVLink
  // domain, or with an NCCL that has no windows. Throws CheckError for what breaks.
  static std::unique_ptr<SymmetricMemory> create(HostComm& group, ncclComm_t comm, Device device, int64_t num_bytes,
                                                 int byte, std::chrono::milliseconds timeout);
  SymmetricMemory(const SymmetricMemory&) = delete;
  SymmetricMemory& operator=(const SymmetricMemory&) = delete;
  // The communicator may have been aborted, and with it the window. What remains is freed.
  ~SymmetricMemory();

  // To be called while `comm` lives, unless that is aborted.
  void close(ncclComm_t comm, std::chrono::milliseconds timeout);
  // By rank: the memory of each, at this GPU's addresses.
  const std::vector<char*>& addresses() const { return addresses_; }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  SymmetricMemory() = default;

  Device device_;
  int64_t num_bytes_ = 0;
  void* memory_ = nullptr;
  ncclWindow_t window_ = nullptr;
  std::vector<char*> addresses_;
};

}  // namespace cohort
