// cohort bench kernels: how fast a model's operations are on one device.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "launcher/bootstrap/build_facts.h"
#include "launcher/cli/bench_kernels.h"
#include "launcher/cli/command.h"
#include "runtime/models/family.h"

namespace cohort {
namespace {

struct BenchKernelsFlags {
  BenchKernelsOptions bench;
  std::string model;
  std::string device = "auto";
  std::string dtype = "auto";
  int tensor_parallel_size = 1;
};

Device choose_device(const std::string& name) {
  const bool has_gpu = num_cuda_devices() > 0;
  if (name == "cuda" && !has_gpu) throw UsageError("--device: cuda, and there is no GPU that this program can use");
  return name == "cuda" || (name == "auto" && has_gpu) ? Device{DeviceKind::kCuda, 0} : kCpuDevice;
}

Status run_bench_kernels(const BenchKernelsFlags& flags) {
  COHORT_ASSIGN_OR_RETURN(const ModelConfig config, read_model_config(flags.model));
  KernelModel model{config.spec, {}, config.spec.checkpoint_dtype};
  COHORT_ASSIGN_OR_RETURN(model.shard,
                          shard_model(config.spec, ParallelLayout({.tensor = flags.tensor_parallel_size}, 0)));
  const std::vector<std::string> operations = kernel_operation_names(config.spec);
  for (const std::string& name : flags.bench.operations) {
    if (std::find(operations.begin(), operations.end(), name) == operations.end()) {
      throw UsageError(
          fmt::format("--operations: {}: expected some of {}, which the model has", name, fmt::join(operations, ",")));
    }
  }
  if (flags.dtype != "auto") model.dtype = *dtype_from_name(flags.dtype);

  KernelBenchReport report;
  report.model = flags.model;
  report.build = build_version();
  report.tensor_parallel_size = flags.tensor_parallel_size;
  report.dtype = model.dtype;
  report.device = choose_device(flags.device);
  report.facts = device_facts(report.device);
  Stream stream(report.device);
  report.ceilings = measure_ceilings(model.dtype, stream);
  BenchKernelsOptions bench = flags.bench;
  if (bench.operations.empty()) bench.operations = operations;
  report.results = measure_kernels(model, report.ceilings, bench, stream);
  fmt::print("{}", flags.bench.json ? format_kernel_json(report) + "\n" : format_kernel_table(report));
  return flush_output();
}

}  // namespace

void add_bench_kernels(CLI::App& bench, Run& run) {
  CLI::App& kernels = *bench.add_subcommand("kernels", "Measure a model's operations on one device");
  auto flags = std::make_shared<BenchKernelsFlags>();
  const CLI::Range is_count(int64_t{1}, int64_t{1} << 24);
  kernels.add_option("--model", flags->model, "Hugging Face model directory; config.json is enough")
      ->required()
      ->option_text("DIR");
  kernels.add_option("--tp", flags->tensor_parallel_size, "Sizes of one of this many shards")
      ->check(CLI::Range(1, 4096))
      ->option_text("N");
  kernels.add_option("--device", flags->device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str()
      ->option_text("KIND");
  kernels.add_option("--dtype", flags->dtype, "float32, float16, bfloat16, or auto: the checkpoint's")
      ->check(CLI::IsMember({"float32", "float16", "bfloat16", "auto"}))
      ->capture_default_str()
      ->option_text("NAME");
  kernels.add_option("--batch", flags->bench.batches, "Sequences that decode together, 1,8,64 if not given")
      ->delimiter(',')
      ->check(is_count)
      ->option_text("N,...");
  kernels.add_option("--context", flags->bench.contexts, "Cached positions of each of them, 1024 if not given")
      ->delimiter(',')
      ->check(is_count)
      ->option_text("N,...");
  kernels.add_option("--prompt", flags->bench.prompts, "Tokens of a prompt in one step, 2048 if not given; 0 for none")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->option_text("N,...");
  kernels
      .add_option(
          "--operations", flags->bench.operations,
          fmt::format("Some of {}; if not given, all that the model has", fmt::join(kernel_operation_names(), ",")))
      ->delimiter(',')
      ->check(CLI::IsMember(kernel_operation_names()))
      ->option_text("NAMES");
  kernels.add_flag("--json", flags->bench.json, "One JSON object instead of a table");
  kernels.callback([flags, &run] { run = [flags] { return run_bench_kernels(*flags); }; });
}

}  // namespace cohort
