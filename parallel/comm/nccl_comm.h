// DeviceComm between CUDA devices, by NCCL.
//
// The communicator is non-blocking: each call is polled until NCCL has taken it, and a watcher thread asks
// ncclCommGetAsyncError, so that a peer that dies or a link that fails ends in an exception or `on_failure`, never in a
// wait without end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "kernels/core/device.h"
#include "parallel/comm/device_comm.h"
#include "parallel/comm/host_comm.h"

namespace cohort {

struct NcclOptions {
  std::string name;  // for the flight recorder
  // all_reduce by tree_all_reduce() instead of ncclAllReduce: the same bits for every number of ranks, at the cost of
  // more steps for long messages.
  bool deterministic = false;
  // Whether short sums may go by a mailbox, where the ranks can reach each other's memory; not when deterministic.
  // Takes Mailbox::num_bytes() of the device.
  bool has_mailbox = false;
  int timeout_ms = 60'000;  // for the ranks to find each other
  // Called once, by the watcher's thread, with what NCCL says has gone wrong between calls. May be empty.
  std::function<void(const std::string& reason)> on_failure = {};
};

// Every rank of `group` takes part, each with a device of its own. The id of the communicator is exchanged through
// `group`. Throws CheckError with NCCL's text, or in a build without CUDA.
std::unique_ptr<DeviceComm> make_nccl_comm(HostComm& group, Device device, const NcclOptions& options);

}  // namespace cohort
