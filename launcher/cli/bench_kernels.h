// What `cohort bench kernels` measures: how long the operations of a step take at a model's sizes, and how near that is
// to what the device can do, which is measured in the same run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/device_facts.h"
#include "launcher/cli/kernel_operations.h"

namespace cohort {

struct BenchKernelsOptions {
  std::vector<int64_t> batches = {1, 8, 64};  // sequences that decode together
  std::vector<int64_t> contexts = {1024};     // cached positions of each, the new one counted
  std::vector<int64_t> prompts = {2048};      // tokens of a prompt in one step, alone
  std::vector<std::string> operations;        // none: all that the model has
  bool json = false;
};

// What no operation can exceed, as measured.
struct KernelCeilings {
  double copy_gbps = 0;       // 10^9 bytes a second, read and written, of a large copy on the device
  double product_tflops = 0;  // 10^12 operations a second of large square products in the model's dtype, the best
};

struct KernelResult {
  std::string operation;
  KernelLoad load;
  std::string sizes;
  double median_us = 0;
  double gbps = 0;    // of the bytes that it must move at the least
  double tflops = 0;  // 0 for what has no products
  // 100 for what takes no longer than the ceilings make it: the larger of its share of either.
  double percent_of_ceiling = 0;
};

struct KernelBenchReport {
  std::string model;
  std::string build;  // of build_version()
  int tensor_parallel_size = 1;
  DType dtype = DType::kBF16;
  Device device;
  DeviceFacts facts;
  KernelCeilings ceilings;
  std::vector<KernelResult> results;
};

// Median microseconds of a run. On CUDA, runs over all sets of operands are recorded as one graph, whose replays are
// timed by the device's clock: they follow each other as the kernels of a step do. On the CPU each run is timed.
double time_operation(const KernelOperation& operation, Stream& stream);

// 10^9 bytes a second, read and written, of a large copy on the device.
double measure_copy_gbps(Stream& stream);
KernelCeilings measure_ceilings(DType dtype, Stream& stream);

// Every operation for every batch, and every prompt but those of 0 tokens; attention for every context.
std::vector<KernelResult> measure_kernels(const KernelModel& model, const KernelCeilings& ceilings,
                                          const BenchKernelsOptions& options, Stream& stream);

// Lines that say what is measured on what, a line of headings, and a line a result.
std::string format_kernel_table(const KernelBenchReport& report);
// {"model", "dtype", "tensor_parallel_size", "build", "device": {"kind", "name", "multiprocessors", "cuda", "driver"},
// "ceilings": {"copy_gbps", "product_tflops"}, "results": [{"operation", "sequences", "queries", "context", "sizes",
// "median_us", "gbps", "tflops", "percent_of_ceiling"}]}
std::string format_kernel_json(const KernelBenchReport& report);

}  // namespace cohort
