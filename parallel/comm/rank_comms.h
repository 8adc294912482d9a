// RankComms: all that one rank of a replica talks through.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "parallel/comm/device_comm.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/host_comm.h"
#include "parallel/layout/parallel_layout.h"

namespace cohort {

struct RankCommsOptions {
  std::shared_ptr<FlightRecorder> recorder = nullptr;  // null: the rank makes its own
  // On CUDA: sums over the shards have the same bits for every number of shards, at the cost of time. CPUs always do
  // so.
  bool deterministic = false;
  // Called by another thread when a device communicator breaks between calls. May be empty.
  std::function<void(const std::string& reason)> on_failure = {};
};

struct RankComms {
  // One rank, which has nobody to talk to.
  static RankComms solo();
  // Every rank of `world` takes part, each with the same sizes, whose product is the number of ranks. CUDA devices talk
  // through NCCL, one communicator a tensor group and one a pipeline edge; a tensor group has a mailbox where it can.
  static RankComms create(HostComm& world, const ParallelSizes& sizes, Device device,
                          const RankCommsOptions& options = {});

  ParallelLayout layout;
  // Among the ranks of the replica; the leader is rank 0. Null when there is one.
  std::unique_ptr<HostComm> control;
  std::unique_ptr<DeviceComm> tensor;    // among the shards of the stage, by shard; null when there is one
  std::unique_ptr<DeviceComm> previous;  // with the same shard one stage before, which is rank 0 of the two; or null
  std::unique_ptr<DeviceComm> next;      // with the same shard one stage on, which is rank 1 of the two; or null
  std::shared_ptr<FlightRecorder> recorder;
};

}  // namespace cohort
