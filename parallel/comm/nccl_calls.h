// How NCCL's calls are waited for and their errors told. Internal to this folder; only in a build with CUDA.
#pragma once

#include <nccl.h>

#include <chrono>
#include <string>

namespace cohort::nccl {

inline bool is_error(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

// "ncclSend: remote process exited or there was a network error (...)", with what NCCL last complained about.
std::string describe(const char* call, ncclResult_t result, ncclComm_t comm);

// Throws CheckError for what is not ncclSuccess.
void check(const char* call, ncclResult_t result, ncclComm_t comm = nullptr);

// What becomes of a call of a non-blocking communicator that returned `result`; ncclInProgress if it is not done in
// time.
ncclResult_t wait_for(ncclComm_t comm, ncclResult_t result, std::chrono::steady_clock::duration timeout);

}  // namespace cohort::nccl
