// Times paged attention on CUDA: heads of 128, bfloat16, blocks of 16 that lie anywhere in the cache.
//
//   attention_cuda_bench [--json FILE] [--only decode|prefill] [--seqs N...] [--contexts N...] [--fast] [--stores]
//                        [--window N] [--soft-cap X] [--slopes]
//
// For decodes what counts is bytes of the cache read a second, against what a kernel that copies memory reaches in the
// same run, or, where they are few, the time against what reading them would take and the launch of a kernel besides;
// for prefills, operations a second, those above the diagonal not counted. Every call reads other blocks, so that the
// L2 cache has none of them; times are medians of CUDA graphs. With --stores a kernel that writes keys and values of
// the queries' positions comes before each call, as in a step, and what it takes alone is not counted. The last three
// are as in AttentionParams; what a window hides is not counted.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/attention/attention.h"
#include "tests/bench/cuda_bench.h"

namespace cohort {
namespace {

constexpr int64_t kBlockSize = 16;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kPositionBytes = 2 * kHeadDim * 2;  // key and value of a KV head

struct Heads {
  int64_t num_heads;
  int64_t num_kv_heads;
};

// `num_seqs` sequences of one length, of which the last `num_queries` positions are queries.
struct Case {
  int64_t num_seqs;
  int64_t context;
  int64_t num_queries;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t window = 0;

  int64_t num_seen() const { return window > 0 ? std::min(context, window + num_queries - 1) : context; }
  double seen_bytes() const { return static_cast<double>(num_seqs * num_seen() * num_kv_heads * kPositionBytes); }
  int64_t blocks_per_seq() const { return (context + kBlockSize - 1) / kBlockSize; }
  int64_t num_blocks() const { return num_seqs * blocks_per_seq(); }
  int64_t block_bytes() const { return num_kv_heads * kBlockSize * kPositionBytes; }
  int64_t cache_bytes() const { return num_blocks() * block_bytes(); }
  double num_flops() const {
    double num_pairs = 0;
    for (int64_t position = context - num_queries; position < context; ++position) {
      num_pairs += static_cast<double>(window > 0 ? std::min(position + 1, window) : position + 1);
    }
    return 4.0 * static_cast<double>(num_seqs * num_heads * kHeadDim) * num_pairs;
  }
};

// What a case reads and writes. Tables rotate through blocks of the whole cache.
struct Operands {
  explicit Operands(const Case& c) {
    const int64_t num_tables = std::max<int64_t>(1, (kRotatedBytes + c.cache_bytes() - 1) / c.cache_bytes());
    const int64_t num_blocks = num_tables * c.num_blocks();
    const Shape cache_shape{num_blocks, c.num_kv_heads, kBlockSize, kHeadDim};
    keys = random_tensor(cache_shape, 1);
    values = random_tensor(cache_shape, 2);
    std::vector<int32_t> order(static_cast<size_t>(num_blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    tables = int32s(order, Shape{num_tables, c.num_blocks()});
    std::vector<int32_t> query_starts;
    for (int64_t i = 0; i <= c.num_seqs; ++i) query_starts.push_back(static_cast<int32_t>(i * c.num_queries));
    starts = int32s(query_starts, Shape{c.num_seqs + 1});
    lengths = int32s(std::vector<int32_t>(static_cast<size_t>(c.num_seqs), static_cast<int32_t>(c.context)),
                     Shape{c.num_seqs});
    std::vector<int64_t> queries_slots;  // of each table
    for (int64_t i = 0; i < num_tables * c.num_seqs * c.num_queries; ++i) {
      const int64_t position = c.context - c.num_queries + i % c.num_queries;
      const int32_t block = order[static_cast<size_t>(i / c.num_queries * c.blocks_per_seq() + position / kBlockSize)];
      queries_slots.push_back(block * kBlockSize + position % kBlockSize);
    }
    slots = Tensor(DType::kI64, Shape{num_tables, c.num_seqs * c.num_queries}, kCuda);
    copy_bytes(slots->data(), kCuda, queries_slots.data(), kCpuDevice, slots->num_bytes());
    k = random_tensor({c.num_seqs * c.num_queries, c.num_kv_heads, kHeadDim}, 5);
    const Shape query_shape{c.num_seqs * c.num_queries, c.num_heads, kHeadDim};
    q = random_tensor(query_shape, 4);
    out = Tensor(DType::kBF16, query_shape, kCuda);
    workspace =
        Tensor(DType::kU8, Shape{attention_workspace_bytes(c.num_seqs, c.context, c.num_heads, kHeadDim)}, kCuda);
  }

  Tensor keys, values, tables, starts, lengths, slots, k, q, out, workspace;
};

class Bench {
 public:
  struct Options {
    bool stores = false;
    bool only_fast = false;
    int64_t window = 0;
    float soft_cap = 0;
    bool has_slopes = false;
  };

  Bench(Stream& stream, const Options& options)
      : stream_(stream), options_(options), ceiling_(copy_ceiling(stream)), launch_us_(launch_us(stream)) {
    cudaDeviceProp properties;
    COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, kCuda.index));
    json_ = {{"device", properties.name},
             {"copy_gb_per_s", ceiling_ / 1e9},
             {"launch_us", launch_us_},
             {"results", nlohmann::json::array()}};
    fmt::print("{}, copying at {:.0f} GB/s, a launch {:.2f} us\n", properties.name, ceiling_ / 1e9, launch_us_);
    fmt::print("{:>5} {:>8} {:>8} {:>6}  {:<13} {:>10} {:>10} {:>7} {:>7} {:>8}\n", "seqs", "context", "queries",
               "heads", "mode", "us", "floor us", "GB/s", "of copy", "TFLOP/s");
  }

  void run(Case c) {
    c.window = options_.window;
    size_t num_free = 0;
    size_t num_total = 0;
    COHORT_CUDA_CHECK(cudaMemGetInfo(&num_free, &num_total));
    if (static_cast<double>(c.cache_bytes() + kRotatedBytes) > 0.9 * static_cast<double>(num_free)) {
      fmt::print("{:>5} {:>8} {:>8} {:>6}  does not fit the memory\n", c.num_seqs, c.context, c.num_queries,
                 fmt::format("{}:{}", c.num_heads, c.num_kv_heads));
      return;
    }
    const Operands operands(c);
    const int64_t num_tables = operands.tables->dim(0);
    const int num_calls = static_cast<int>(std::clamp<int64_t>(num_tables, 4, 64));
    const auto store = [&](int i) {
      write_kv({operands.keys, operands.values}, operands.k, operands.k,
               operands.slots->slice(0, i % num_tables, i % num_tables + 1).reshape({c.num_seqs * c.num_queries}),
               stream_);
    };
    const Tensor slopes(DType::kF32, Shape{options_.has_slopes ? c.num_heads : 0}, kCuda);
    const std::vector<float> ones(static_cast<size_t>(slopes->num_elements()), 1.0f);
    copy_bytes(slopes->data(), kCuda, ones.data(), kCpuDevice, slopes->num_bytes());
    const double store_us = options_.stores ? time_us(stream_, num_calls, store) : 0;
    for (const bool deterministic : {false, true}) {
      if (deterministic && options_.only_fast) continue;
      const AttentionParams params{.scale = 1 / std::sqrt(static_cast<float>(kHeadDim)),
                                   .deterministic = deterministic,
                                   .window = options_.window,
                                   .soft_cap = options_.soft_cap,
                                   .alibi_slopes = slopes};
      const double us = time_us(stream_, num_calls, [&](int i) {
        if (options_.stores) store(i);
        const ConstTensorView table =
            operands.tables->slice(0, i % num_tables, i % num_tables + 1).reshape({c.num_seqs, c.blocks_per_seq()});
        paged_attention(operands.out, operands.q, {operands.keys, operands.values},
                        {operands.starts, operands.lengths, table, c.num_queries, c.context}, params,
                        operands.workspace, stream_);
      });
      report(c, deterministic ? "deterministic" : "fast", us - store_us);
    }
  }

  const nlohmann::json& json() const { return json_; }

 private:
  void report(const Case& c, const char* mode, double us) {
    const double bytes_per_s = c.seen_bytes() / us * 1e6;
    const double tflops = c.num_flops() / us * 1e-6;
    const double floor_us = c.seen_bytes() / ceiling_ * 1e6 + launch_us_;
    fmt::print("{:>5} {:>8} {:>8} {:>6}  {:<13} {:>10.2f} {:>10.2f} {:>7.0f} {:>6.1f}% {:>8.1f}\n", c.num_seqs,
               c.context, c.num_queries, fmt::format("{}:{}", c.num_heads, c.num_kv_heads), mode, us, floor_us,
               bytes_per_s / 1e9, 100 * bytes_per_s / ceiling_, tflops);
    json_["results"].push_back({{"seqs", c.num_seqs},
                                {"context", c.context},
                                {"queries", c.num_queries},
                                {"heads", c.num_heads},
                                {"kv_heads", c.num_kv_heads},
                                {"mode", mode},
                                {"us", us},
                                {"floor_us", floor_us},
                                {"gb_per_s", bytes_per_s / 1e9},
                                {"of_copy", bytes_per_s / ceiling_},
                                {"tflops", tflops}});
  }

  Stream& stream_;
  const Options options_;
  const double ceiling_;
  const double launch_us_;
  nlohmann::json json_;
};

int run_bench(int argc, char** argv) {
  CLI::App app("Times paged attention on CUDA.");
  std::string json_path;
  app.add_option("--json", json_path, "write the results to this file as well");
  std::string only;
  app.add_option("--only", only, "leave the other out")->check(CLI::IsMember({"decode", "prefill"}));
  std::vector<int64_t> seqs = {1, 8, 32, 64};
  app.add_option("--seqs", seqs, "sequences of decodes");
  std::vector<int64_t> contexts = {512, 1024, 4096, 16384, 32768};
  app.add_option("--contexts", contexts, "positions of each");
  Bench::Options options;
  app.add_flag("--fast", options.only_fast, "leave the deterministic mode out");
  app.add_flag("--stores", options.stores,
               "call after a kernel that stores keys and values, whose time is not counted");
  app.add_option("--window", options.window, "positions that a query sees; 0: all");
  app.add_option("--soft-cap", options.soft_cap, "cap of scores; 0: none");
  app.add_flag("--slopes", options.has_slopes, "ALiBi");
  CLI11_PARSE(app, argc, argv);
  if (num_cuda_devices() == 0) {
    fmt::print(stderr, "no CUDA device\n");
    return 1;
  }
  Stream stream(kCuda);
  Bench bench(stream, options);
  for (const Heads heads : {Heads{40, 40}, Heads{64, 8}}) {
    if (only == "prefill") continue;
    for (const int64_t num_seqs : seqs) {
      for (const int64_t context : contexts) {
        bench.run({num_seqs, context, 1, heads.num_heads, heads.num_kv_heads});
      }
    }
  }
  for (const Heads heads : {Heads{32, 32}, Heads{32, 4}}) {
    if (only == "decode") continue;
    bench.run({1, 2048, 2048, heads.num_heads, heads.num_kv_heads});
    bench.run({1, 8192, 8192, heads.num_heads, heads.num_kv_heads});
    bench.run({4, 4096, 4096, heads.num_heads, heads.num_kv_heads});
  }
  return write_results(json_path, bench.json().dump(2));
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::run_bench(argc, argv); }
