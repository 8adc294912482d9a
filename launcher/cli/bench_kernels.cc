#include "launcher/cli/bench_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <span>

#include "kernels/core/device_graph.h"
#include "launcher/cli/quantile.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kNumReplays = 9;
constexpr int kMinRunsOfGraph = 16;
constexpr int kMinCpuRuns = 3;
constexpr double kCpuSeconds = 0.2;

// What copies and products are large enough for on a device.
constexpr int64_t kCudaCopyBytes = int64_t{1} << 30;
constexpr int64_t kCudaProductSizes[] = {4096, 8192};  // the larger runs longer, and may run slower as it grows hot
constexpr int64_t kCpuCopyBytes = int64_t{1} << 27;
constexpr int64_t kCpuProductSizes[] = {1024};

// Of one of num_runs calls of `submit` in a graph.
template <typename Submit>
double time_graph(int num_runs, Stream& stream, const Submit& submit) {
  submit(0);  // the first use chooses algorithms and loads kernels
  stream.synchronize();
  const DeviceGraph graph = DeviceGraph::capture(stream, [&] {
    for (int i = 0; i < num_runs; ++i) submit(i);
  });
  graph.launch(stream);
  Event start(stream.device());
  Event stop(stream.device());
  std::vector<double> times_us;
  for (int i = 0; i < kNumReplays; ++i) {
    start.record(stream);
    graph.launch(stream);
    stop.record(stream);
    stop.synchronize();
    times_us.push_back(1000 * stop.milliseconds_since(start) / num_runs);
  }
  return quantile(times_us, 0.5);
}

double time_on_cuda(const KernelOperation& operation, Stream& stream) {
  const int num_rounds = (kMinRunsOfGraph + operation.num_sets - 1) / operation.num_sets;
  const int num_runs = num_rounds * operation.num_sets;
  const auto run = [&](int i) { operation.run(i % operation.num_sets); };
  if (!operation.reset) return time_graph(num_runs, stream, run);
  const auto reset = [&](int i) { operation.reset(i % operation.num_sets); };
  const double both_us = time_graph(num_runs, stream, [&](int i) {
    reset(i);
    run(i);
  });
  return both_us - time_graph(num_runs, stream, reset);
}

double time_on_cpu(const KernelOperation& operation) {
  std::vector<double> times_us;
  const auto reset = [&](int set) {
    if (operation.reset) operation.reset(set);
  };
  reset(0);
  operation.run(0);
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kMinCpuRuns || std::chrono::duration<double>(Clock::now() - begin).count() < kCpuSeconds; ++i) {
    reset(i % operation.num_sets);
    const Clock::time_point start = Clock::now();
    operation.run(i % operation.num_sets);
    times_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  return quantile(times_us, 0.5);
}

KernelResult measure(const std::string& name, const KernelModel& model, const KernelLoad& load,
                     const KernelCeilings& ceilings, Stream& stream) {
  const KernelOperation operation = make_kernel_operation(name, model, load, stream);
  KernelResult result{.operation = name, .load = load, .sizes = operation.sizes};
  result.median_us = time_operation(operation, stream);
  // A clock may be too coarse for what takes no time.
  const double us = std::max(result.median_us, 1e-3);
  result.gbps = static_cast<double>(operation.num_bytes) / us * 1e-3;
  result.tflops = operation.num_flops / us * 1e-6;
  result.percent_of_ceiling = 100 * std::max(result.gbps / ceilings.copy_gbps, result.tflops / ceilings.product_tflops);
  return result;
}

std::string_view kind_name(Device device) { return device.kind == DeviceKind::kCpu ? "cpu" : "cuda"; }

}  // namespace

double time_operation(const KernelOperation& operation, Stream& stream) {
  return stream.device().kind == DeviceKind::kCuda ? time_on_cuda(operation, stream) : time_on_cpu(operation);
}

double measure_copy_gbps(Stream& stream) {
  const bool is_cuda = stream.device().kind == DeviceKind::kCuda;
  const KernelOperation copy = make_copy(is_cuda ? kCudaCopyBytes : kCpuCopyBytes, stream);
  return static_cast<double>(copy.num_bytes) / time_operation(copy, stream) * 1e-3;
}

KernelCeilings measure_ceilings(DType dtype, Stream& stream) {
  const bool is_cuda = stream.device().kind == DeviceKind::kCuda;
  KernelCeilings ceilings{.copy_gbps = measure_copy_gbps(stream)};
  const std::span<const int64_t> cuda_sizes(kCudaProductSizes);
  const std::span<const int64_t> cpu_sizes(kCpuProductSizes);
  for (const int64_t size : is_cuda ? cuda_sizes : cpu_sizes) {
    const KernelOperation product = make_square_product(size, dtype, stream);
    const double tflops = product.num_flops / time_operation(product, stream) * 1e-6;
    ceilings.product_tflops = std::max(ceilings.product_tflops, tflops);
  }
  return ceilings;
}

std::vector<KernelResult> measure_kernels(const KernelModel& model, const KernelCeilings& ceilings,
                                          const BenchKernelsOptions& options, Stream& stream) {
  std::vector<KernelResult> results;
  for (const std::string& name : options.operations) {
    for (const int64_t batch : options.batches) {
      for (const int64_t context : options.contexts) {
        results.push_back(measure(name, model, {batch, 1, context}, ceilings, stream));
        if (name != "attention") break;  // no other operation reads the context
      }
    }
    for (const int64_t prompt : options.prompts) {
      if (prompt == 0) continue;
      results.push_back(measure(name, model, {1, prompt, prompt}, ceilings, stream));
    }
  }
  return results;
}

std::string format_kernel_table(const KernelBenchReport& report) {
  std::string text = fmt::format("{}, tensor parallel {}, {}; cohort {}\n", report.model, report.tensor_parallel_size,
                                 dtype_name(report.dtype), report.build);
  text += fmt::format("{} ({}), {} {}", report.facts.name, kind_name(report.device), report.facts.num_multiprocessors,
                      report.device.kind == DeviceKind::kCpu ? "threads" : "multiprocessors");
  if (!report.facts.cuda_version.empty()) {
    text += fmt::format(", CUDA {}, driver for CUDA {}", report.facts.cuda_version, report.facts.driver_version);
  }
  text += fmt::format("\nceilings: copy {:.1f} GB/s, product {:.2f} TFLOP/s\n", report.ceilings.copy_gbps,
                      report.ceilings.product_tflops);
  text += fmt::format("{:<17} {:>5} {:>6} {:>7}  {:<34}{:>11}{:>10}{:>10}{:>11}\n", "operation", "seqs", "tokens",
                      "context", "sizes", "median us", "GB/s", "TFLOP/s", "% ceiling");
  for (const KernelResult& r : report.results) {
    text += fmt::format("{:<17} {:>5} {:>6} {:>7}  {:<34}{:>11.2f}{:>10.1f}{:>10.2f}{:>11.1f}\n", r.operation,
                        r.load.num_seqs, r.load.num_rows(), r.load.context_length, r.sizes, r.median_us, r.gbps,
                        r.tflops, r.percent_of_ceiling);
  }
  return text;
}

std::string format_kernel_json(const KernelBenchReport& report) {
  nlohmann::ordered_json json = {
      {"model", report.model},
      {"dtype", dtype_name(report.dtype)},
      {"tensor_parallel_size", report.tensor_parallel_size},
      {"build", report.build},
      {"device",
       {{"kind", kind_name(report.device)},
        {"name", report.facts.name},
        {"multiprocessors", report.facts.num_multiprocessors},
        {"cuda", report.facts.cuda_version},
        {"driver", report.facts.driver_version}}},
      {"ceilings", {{"copy_gbps", report.ceilings.copy_gbps}, {"product_tflops", report.ceilings.product_tflops}}},
      {"results", nlohmann::ordered_json::array()}};
  for (const KernelResult& r : report.results) {
    json["results"].push_back({{"operation", r.operation},
                               {"sequences", r.load.num_seqs},
                               {"queries", r.load.num_queries},
                               {"context", r.load.context_length},
                               {"sizes", r.sizes},
                               {"median_us", r.median_us},
                               {"gbps", r.gbps},
                               {"tflops", r.tflops},
                               {"percent_of_ceiling", r.percent_of_ceiling}});
  }
  return json.dump();
}

}  // namespace cohort
