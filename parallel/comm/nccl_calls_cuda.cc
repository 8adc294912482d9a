#include <thread>

#include "kernels/core/check.h"
#include "parallel/comm/nccl_calls.h"

namespace cohort::nccl {

using Clock = std::chrono::steady_clock;

std::string describe(const char* call, ncclResult_t result, ncclComm_t comm) {
  if (result == ncclInProgress) return std::string(call) + ": not done in time; is a peer missing?";
  std::string text = std::string(call) + ": " + ncclGetErrorString(result);
  const char* const last_error = ncclGetLastError(comm);
  if (last_error != nullptr && *last_error != '\0') text += std::string("; ") + last_error;
  return text;
}

void check(const char* call, ncclResult_t result, ncclComm_t comm) {
  if (result != ncclSuccess) throw CheckError(describe(call, result, comm));
}

ncclResult_t wait_for(ncclComm_t comm, ncclResult_t result, Clock::duration timeout) {
  constexpr int kYields = 20'000;  // some milliseconds: a call of a step is taken within that
  const Clock::time_point deadline = Clock::now() + timeout;
  for (int i = 0; result == ncclInProgress; ++i) {
    if (Clock::now() > deadline) return ncclInProgress;
    if (i < kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    ncclResult_t state = ncclSuccess;
    const ncclResult_t error = ncclCommGetAsyncError(comm, &state);
    result = error != ncclSuccess ? error : state;
  }
  return result;
}

}  // namespace cohort::nccl
