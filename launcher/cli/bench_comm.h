// What `cohort bench comm` measures: how long the ranks' collectives take by size, and what that is in GB/s.
//
// Times are of the device. An operation takes as long as on its slowest rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/stream.h"
#include "parallel/comm/device_comm.h"
#include "parallel/comm/host_comm.h"

namespace cohort {

// The names of the operations, in the order in which they are measured by default.
inline const std::vector<std::string> kCommOperations = {"all_reduce", "send_receive", "broadcast", "all_gather"};
// One more, of CUDA's fast mode: the sum over shards with residual and norm (parallel/tensor/all_reduce_norm.h), and
// what it is chosen from: "all_reduce_norm_one_shot" and "all_reduce_norm_two_shot", where the kernels can, and
// "all_reduce_then_norm", NCCL's sum and a kernel after it.
inline constexpr const char* kAllReduceNorm = "all_reduce_norm";

struct BenchCommOptions {
  int64_t min_bytes = 8;  // the first size; each is twice the one before
  int64_t max_bytes = int64_t{64} << 20;
  int num_iterations = 0;  // timed ones of a size; 0 for as many as fill seconds_per_size
  double seconds_per_size = 0.2;
  std::vector<std::string> operations = kCommOperations;
  bool deterministic = false;  // the order of sums does not depend on the number of ranks
  bool json = false;
};

struct CommResult {
  std::string operation;
  // Of what an all_reduce or broadcast works on, an all_gather gathers from all ranks together, a send_receive sends
  // one way. Rounded down to whole float32 on every rank, but to no less than one.
  int64_t num_bytes = 0;
  int num_ranks = 0;
  // Microseconds an operation; the greatest of the ranks'. send_receive: half of a round trip. On CUDA several are
  // queued together and their mean is one sample, so that launching them is hidden as far as it is in a step.
  double min_us = 0;
  double median_us = 0;
  double p99_us = 0;
  // 10^9 bytes a second. algorithm: num_bytes by the median. bus: that by the part of num_bytes which the busiest link
  // must carry, so that it compares with the link's speed: nccl-tests, doc/PERFORMANCE.md.
  double algorithm_gbps = 0;
  double bus_gbps = 0;
};

struct CommBenchSetup {
  std::string device;              // "cpu" or "cuda"
  std::vector<std::string> hosts;  // by rank
};

// Measures the operations of `options` between the ranks of `comm`, which are those of `world`, two at least. Every
// rank takes part with the same options and gets the same results. send_receive pairs ranks 0 and 1, 2 and 3, ...; the
// last of an odd number has none. Throws CheckError for an operation that is not known.
std::vector<CommResult> measure_comm(HostComm& world, DeviceComm& comm, Stream& stream,
                                     const BenchCommOptions& options);

// Measures kAllReduceNorm on tensors of bf16 of 1 to 2048 tokens of models of 5120 and 8192, in CUDA graphs. `comm` and
// `plain`, which has no mailbox, are of the ranks of `world` and in their fast mode. Otherwise like measure_comm().
std::vector<CommResult> measure_all_reduce_norm(HostComm& world, DeviceComm& comm, DeviceComm& plain, Stream& stream,
                                                const BenchCommOptions& options);

// Bus bandwidth as a multiple of algorithm bandwidth.
double bus_factor(const std::string& operation, int num_ranks);

// A line that says what is measured, a line of headings, and a line a result.
std::string format_comm_table(const std::vector<CommResult>& results, const CommBenchSetup& setup);
// {"ranks", "device", "hosts": names, each once, "results": [{"operation", "bytes", "min_us", "median_us", "p99_us",
// "algorithm_gbps", "bus_gbps"}]}
std::string format_comm_json(const std::vector<CommResult>& results, const CommBenchSetup& setup);

}  // namespace cohort
