// cohort bench: what the machine gives. `cohort bench comm` measures how fast its ranks talk; the others have files of
// their own.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <memory>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/bench_comm.h"
#include "launcher/cli/command.h"
#include "parallel/comm/nccl_comm.h"

namespace cohort {
namespace {

struct BenchCommFlags {
  BenchCommOptions bench;
  std::string device = "auto";
};

std::unique_ptr<DeviceComm> make_comm(Job& job, Device device, bool is_deterministic, bool has_mailbox = false) {
  std::unique_ptr<DeviceComm> comm =
      device.kind == DeviceKind::kCpu
          ? job.world().make_cpu_comm("bench")
          : make_nccl_comm(job.world(), device,
                           {.name = "bench", .deterministic = is_deterministic, .has_mailbox = has_mailbox});
  comm->set_recorder(job.recorder().get());
  return comm;
}

Status bench_comm(Job& job, const BenchCommFlags& flags) {
  if (job.size() < 2) {
    throw UsageError("bench comm: one rank has nobody to talk to; start it by mpirun -np 2, or more");
  }
  Device device;
  job.agree([&] {
    device = job.choose_device(flags.device);
    return ok_status();
  });
  Stream stream(device, job.num_threads(0));
  const std::unique_ptr<DeviceComm> comm = make_comm(job, device, flags.bench.deterministic);
  std::vector<std::string> operations = flags.bench.operations;
  const bool has_all_reduce_norm = std::erase(operations, kAllReduceNorm) > 0;
  if (has_all_reduce_norm && (device.kind == DeviceKind::kCpu || flags.bench.deterministic)) {
    throw UsageError("--operations: all_reduce_norm is one of CUDA, and not deterministic");
  }
  const bool has_all_reduce = std::find(operations.begin(), operations.end(), "all_reduce") != operations.end();
  if (has_all_reduce && comm->is_layout_invariant() && !std::has_single_bit(static_cast<unsigned>(job.size()))) {
    throw UsageError(fmt::format(
        "--operations: all_reduce whose order of sums is fixed needs 2, 4, 8, ... ranks; there are {}", job.size()));
  }
  BenchCommOptions bench = flags.bench;
  bench.operations = operations;
  std::vector<CommResult> results = measure_comm(job.world(), *comm, stream, bench);
  if (has_all_reduce_norm) {
    const std::unique_ptr<DeviceComm> with_mailbox = make_comm(job, device, false, true);
    const auto more = measure_all_reduce_norm(job.world(), *with_mailbox, *comm, stream, bench);
    results.insert(results.end(), more.begin(), more.end());
  }
  if (job.rank() != 0) return ok_status();
  const CommBenchSetup setup{device.kind == DeviceKind::kCpu ? "cpu" : "cuda", job.hosts()};
  fmt::print("{}", flags.bench.json ? format_comm_json(results, setup) + "\n" : format_comm_table(results, setup));
  return flush_output();
}

Status run_bench_comm(const BenchCommFlags& flags) {
  if (flags.bench.min_bytes > flags.bench.max_bytes) {
    throw UsageError(
        fmt::format("--min-bytes: {} is more than --max-bytes, {}", flags.bench.min_bytes, flags.bench.max_bytes));
  }
  return run_job({}, [&](Job& job) { return bench_comm(job, flags); });
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  CLI::App& bench = *app.add_subcommand("bench", "Measure what the machine gives");
  bench.require_subcommand(1);
  add_bench_kernels(bench, run);
  add_bench_engine(bench, run);
  add_bench_scaling(bench, run);
  add_bench_serve(bench, run);
  CLI::App& comm = *bench.add_subcommand("comm", "Measure how fast ranks talk; start it by mpirun or srun");
  auto flags = std::make_shared<BenchCommFlags>();
  const CLI::Range is_size(int64_t{1}, int64_t{1} << 40);
  comm.add_option("--device", flags->device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str()
      ->option_text("KIND");
  comm.add_option("--min-bytes", flags->bench.min_bytes,
                  "The first size, 8 if not given; K, M and G are powers of 1024")
      ->transform(CLI::AsSizeValue(false))
      ->check(is_size)
      ->option_text("SIZE");
  comm.add_option("--max-bytes", flags->bench.max_bytes, "Sizes double until here, 64M if not given")
      ->transform(CLI::AsSizeValue(false))
      ->check(is_size)
      ->option_text("SIZE");
  std::vector<std::string> known_operations = kCommOperations;
  known_operations.push_back(kAllReduceNorm);
  comm.add_option("--operations", flags->bench.operations,
                  fmt::format("Some of {}, which are measured by default, and {}", fmt::join(kCommOperations, ","),
                              kAllReduceNorm))
      ->delimiter(',')
      ->check(CLI::IsMember(known_operations))
      ->option_text("NAMES");
  comm.add_option("--iterations", flags->bench.num_iterations,
                  "Timed ones of each size; 0, the default, for as many as take 0.2 s")
      ->check(CLI::Range(0, 1'000'000))
      ->option_text("N");
  comm.add_flag("--deterministic", flags->bench.deterministic, "Sums in an order that no number of ranks changes");
  comm.add_flag("--json", flags->bench.json, "One JSON object instead of a table");
  comm.callback([flags, &run] { run = [flags] { return run_bench_comm(*flags); }; });
}

}  // namespace cohort
