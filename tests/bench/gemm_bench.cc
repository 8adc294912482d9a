// The CPU product beside oneDNN and OpenBLAS. Own kernels and rivals run in turn within each
// iteration, so that another load on the machine meets them alike. Rates are of the fastest tenth
// of the runs, and a ratio is the rival's time by ours (above 1 we are faster). Threads: as many as
// the process may run on; "taskset -c 0" for one.
//
//   gemm/...              what gemm() chooses, and the rivals
//   kernel:<ISA>/...      one instruction set
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/kernels.h"
#include "tests/bench/gemm_rivals.h"

namespace cohort {
namespace {

using gemm_internal::all_kernels;
using gemm_internal::choose_blocks;
using gemm_internal::choose_config;
using gemm_internal::Config;
using gemm_internal::is_supported;
using gemm_internal::isa_name;
using gemm_internal::Kernel;
using gemm_internal::Problem;

Tensor random_tensor(DType dtype, int64_t rows, int64_t columns) {
  Tensor tensor(dtype, Shape{rows, columns});
  std::minstd_rand rng(7);
  dispatch_float(dtype, [&]<typename T>() {
    for (int64_t i = 0; i < rows * columns; ++i) {
      tensor->data<T>()[i] = static_cast<T>(static_cast<float>(rng() % 2048) / 1024.0f - 1.0f);
    }
  });
  return tensor;
}

// Wall time; on one CPU the CPU time of the process, which is the same on an idle machine and does
// not count what others take away on a busy one.
double now_seconds() {
  if (num_usable_cpus() > 1) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(now).count();
  }
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The time of a second run. OpenMP and OpenBLAS threads spin for some milliseconds after a product,
// so with several threads they are left to rest before, and the first run wakes the threads of
// whoever is next.
template <typename F>
double seconds(F&& f) {
  if (num_usable_cpus() > 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    f();
  }
  const double start = now_seconds();
  f();
  return now_seconds() - start;
}

// The tenth part from below: near the shortest, without what a coarse clock makes of it.
double typical(std::vector<double> times) {
  const auto place = static_cast<int64_t>(times.size() / 10);
  std::nth_element(times.begin(), times.begin() + place, times.end());
  return times[static_cast<size_t>(place)];
}

// `isa` null: what gemm() chooses, against the rivals. Otherwise one kernel alone.
void bench_gemm(benchmark::State& state, DType dtype, const gemm_internal::Isa* isa, Problem problem) {
  Stream stream(kCpuDevice);
  problem.dtype = dtype;
  problem.num_threads = stream.num_threads();
  const Tensor x = random_tensor(dtype, problem.num_rows, problem.k);
  const Tensor weight = random_tensor(dtype, problem.n, problem.k);
  const Tensor out(dtype, Shape{problem.num_rows, problem.n});
  const PackedWeight packed = PackedWeight::pack(weight, WeightLayout::kOutIn, dtype, problem.num_chunks, stream);
  const Config config = isa == nullptr ? choose_config(problem, cpu_features()) : choose_blocks(problem, *isa);
  std::vector<std::unique_ptr<GemmRival>> rivals;
  for (GemmRivalFactory factory : gemm_rival_factories()) {
    if (isa != nullptr) break;
    if (auto rival = factory(weight, problem.num_rows)) rivals.push_back(std::move(rival));
  }

  std::vector<double> own;
  std::vector<std::vector<double>> others(rivals.size());
  for (auto _ : state) {
    own.push_back(seconds([&] { run_gemm(config, out, x, packed, {}, stream); }));
    for (size_t i = 0; i < rivals.size(); ++i) {
      others[i].push_back(seconds([&] { rivals[i]->run(out, x); }));
    }
    state.SetIterationTime(own.back());
  }
  const double flop = 2.0 * static_cast<double>(problem.num_rows * problem.n * problem.k);
  const double num_bytes = static_cast<double>(weight->num_bytes() + x->num_bytes() + out->num_bytes());
  state.counters["GFLOP/s"] = flop / typical(own) * 1e-9;
  state.counters["GB/s"] = num_bytes / typical(own) * 1e-9;
  for (size_t i = 0; i < rivals.size(); ++i) {
    state.counters[rivals[i]->name() + " GFLOP/s"] = flop / typical(others[i]) * 1e-9;
    state.counters[rivals[i]->name() + " ratio"] = typical(others[i]) / typical(own);
  }
  state.SetLabel(std::string(isa_name(config.isa)));
}

void register_benches() {
  struct Size {
    int64_t n;
    int64_t k;
    int num_chunks;
  };
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const Size size : {Size{4096, 4096, 1}, {4096, 4096, 16}, {704, 256, 1}, {256, 704, 1}, {768, 256, 1}}) {
      for (const int64_t num_rows : {1, 2, 4, 8, 16, 32, 64, 256}) {
        const Problem problem{.num_rows = num_rows, .n = size.n, .k = size.k, .num_chunks = size.num_chunks};
        const std::string name = std::string(dtype_name(dtype)) + "/m:" + std::to_string(num_rows) +
                                 "/n:" + std::to_string(size.n) + "/k:" + std::to_string(size.k) +
                                 "/chunks:" + std::to_string(size.num_chunks);
        benchmark::RegisterBenchmark(("gemm/" + name).c_str(), [=](benchmark::State& state) {
          bench_gemm(state, dtype, nullptr, problem);
        })->UseManualTime();
        for (const Kernel& kernel : all_kernels()) {
          if (kernel.dtype != dtype || !is_supported(kernel.isa, cpu_features())) continue;
          const std::string kernel_name = "kernel:" + std::string(isa_name(kernel.isa)) + "/" + name;
          benchmark::RegisterBenchmark(kernel_name.c_str(), [=](benchmark::State& state) {
            bench_gemm(state, dtype, &kernel.isa, problem);
          })->UseManualTime();
        }
      }
    }
  }
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  cohort::register_benches();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
