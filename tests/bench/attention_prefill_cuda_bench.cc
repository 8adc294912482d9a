// Times prefills by paged attention on CUDA: bfloat16, blocks that lie anywhere in the cache.
//
//   attention_prefill_cuda_bench [--json FILE] [--case I]
//
// What counts is operations a second, those that no query sees not counted. Every call reads other blocks, so that the
// L2 cache has none of them; times are medians of CUDA graphs. peers/attention_torch.py times PyTorch on some of these.
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

// One sequence: its last `num_queries` positions are queries.
struct Sequence {
  int64_t context;
  int64_t num_queries;
};

// What AttentionParams says of a case.
struct Kind {
  bool is_causal = true;
  int64_t window = 0;
  float soft_cap = 0;
  bool has_slopes = false;
  int64_t max_distance = -1;  // of position biases; -1: there are none
};

struct Case {
  std::string name;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t block_size;
  std::vector<Sequence> seqs;
  Kind kind = {};

  int64_t num_tokens() const {
    return std::accumulate(seqs.begin(), seqs.end(), int64_t{0}, [](int64_t n, auto& s) { return n + s.num_queries; });
  }
  int64_t max_context() const {
    return std::max_element(seqs.begin(), seqs.end(), [](auto& a, auto& b) { return a.context < b.context; })->context;
  }
  int64_t max_queries() const {
    return std::max_element(seqs.begin(), seqs.end(), [](auto& a, auto& b) { return a.num_queries < b.num_queries; })
        ->num_queries;
  }
  int64_t blocks_per_seq() const { return (max_context() + block_size - 1) / block_size; }
  int64_t num_blocks() const { return static_cast<int64_t>(seqs.size()) * blocks_per_seq(); }
  int64_t cache_bytes() const { return num_blocks() * num_kv_heads * block_size * head_dim * 4; }
  double num_flops() const {
    double num_pairs = 0;
    for (const Sequence& s : seqs) {
      for (int64_t position = s.context - s.num_queries; position < s.context; ++position) {
        const int64_t num_seen = kind.is_causal ? position + 1 : s.context;
        num_pairs += static_cast<double>(kind.window > 0 ? std::min(num_seen, kind.window) : num_seen);
      }
    }
    return 4.0 * static_cast<double>(num_heads * head_dim) * num_pairs;
  }
};

Tensor zeros(const Shape& shape) {
  Tensor x(DType::kF32, shape, kCuda);
  const std::vector<float> zeros(static_cast<size_t>(x->num_elements()));
  copy_bytes(x->data(), kCuda, zeros.data(), kCpuDevice, x->num_bytes());
  return x;
}

double time_case(const Case& c, Stream& stream) {
  const auto num_seqs = static_cast<int64_t>(c.seqs.size());
  const int64_t num_tables = std::clamp<int64_t>((kRotatedBytes + c.cache_bytes() - 1) / c.cache_bytes(), 1, 16);
  const int64_t num_blocks = num_tables * c.num_blocks();
  const Shape cache_shape{num_blocks, c.num_kv_heads, c.block_size, c.head_dim};
  const Tensor keys = random_tensor(cache_shape, 1);
  const Tensor values = random_tensor(cache_shape, 2);
  std::vector<int32_t> order(static_cast<size_t>(num_blocks));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  const Tensor tables = int32s(order, Shape{num_tables, c.num_blocks()});
  std::vector<int32_t> query_starts = {0};
  std::vector<int32_t> contexts;
  for (const Sequence& s : c.seqs) {
    query_starts.push_back(query_starts.back() + static_cast<int32_t>(s.num_queries));
    contexts.push_back(static_cast<int32_t>(s.context));
  }
  const Tensor starts = int32s(query_starts, Shape{num_seqs + 1});
  const Tensor lengths = int32s(contexts, Shape{num_seqs});
  // As in a model: queries are a part of what the product of queries, keys and values writes.
  const int64_t width = c.num_heads * c.head_dim;
  const Tensor qkv = random_tensor(Shape{c.num_tokens(), width + 2 * c.num_kv_heads * c.head_dim}, 4);
  const ConstTensorView q = qkv->slice(1, 0, width).reshape(Shape{c.num_tokens(), c.num_heads, c.head_dim});
  const Tensor out(DType::kBF16, Shape{c.num_tokens(), c.num_heads, c.head_dim}, kCuda);
  const Tensor workspace(DType::kU8,
                         Shape{attention_workspace_bytes(num_seqs, c.max_context(), c.num_heads, c.head_dim)}, kCuda);
  const Tensor slopes = zeros({c.kind.has_slopes ? c.num_heads : 0});
  const Tensor bias = zeros({c.num_heads, c.kind.max_distance < 0 ? 0 : 2 * c.kind.max_distance + 1});
  const AttentionParams params{.scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                               .is_causal = c.kind.is_causal,
                               .window = c.kind.window,
                               .soft_cap = c.kind.soft_cap,
                               .alibi_slopes = slopes,
                               .position_bias = bias};
  const int num_calls = static_cast<int>(std::clamp<int64_t>(num_tables, 4, 16));
  return time_us(stream, num_calls, [&](int i) {
    const ConstTensorView table =
        tables->slice(0, i % num_tables, i % num_tables + 1).reshape({num_seqs, c.blocks_per_seq()});
    paged_attention(out, q, {keys, values}, {starts, lengths, table, c.max_queries(), c.max_context()}, params,
                    workspace, stream);
  });
}

std::vector<Case> cases() {
  const std::vector<Sequence> four(4, {4096, 4096});
  std::vector<Case> cases;
  for (const auto& [num_heads, num_kv_heads] : {std::pair<int64_t, int64_t>{40, 40}, {64, 8}, {32, 32}}) {
    cases.push_back({"2k", num_heads, num_kv_heads, 128, 16, {{2048, 2048}}});
    cases.push_back({"8k", num_heads, num_kv_heads, 128, 16, {{8192, 8192}}});
    cases.push_back({"4 x 4k", num_heads, num_kv_heads, 128, 16, four});
  }
  for (const int64_t block_size : {32, 64}) {
    cases.push_back({"2k", 40, 40, 128, block_size, {{2048, 2048}}});
    cases.push_back({"8k", 40, 40, 128, block_size, {{8192, 8192}}});
    cases.push_back({"8k", 64, 8, 128, block_size, {{8192, 8192}}});
  }
  for (const int64_t head_dim : {64, 80, 96, 256}) cases.push_back({"8k", 32, 32, head_dim, 16, {{8192, 8192}}});
  cases.push_back({"2k after 30k", 40, 40, 128, 16, {{32768, 2048}}});
  cases.push_back({"512 after 8k", 64, 8, 128, 16, {{8704, 512}}});
  cases.push_back({"ragged", 40, 40, 128, 16, {{3000, 3000}, {700, 700}, {100, 100}, {2000, 1500}, {5000, 400}}});
  std::vector<Sequence> mixed(32, {2000, 1});
  mixed.push_back({2048, 2048});
  cases.push_back({"2k, 32 decodes", 40, 40, 128, 16, mixed});
  cases.push_back({"16 x 100", 64, 8, 128, 16, std::vector<Sequence>(16, {100, 100})});
  cases.push_back({"8k, window 1k", 40, 40, 128, 16, {{8192, 8192}}, {.window = 1024}});
  cases.push_back({"8k, cap", 40, 40, 128, 16, {{8192, 8192}}, {.soft_cap = 50}});
  cases.push_back({"8k, slopes", 40, 40, 128, 16, {{8192, 8192}}, {.has_slopes = true}});
  cases.push_back({"8k, cap", 8, 4, 256, 16, {{8192, 8192}}, {.soft_cap = 50}});
  cases.push_back({"8k, 4k, cap", 8, 4, 256, 16, {{8192, 8192}}, {.window = 4096, .soft_cap = 50}});
  const std::vector<Sequence> texts(64, {512, 512});
  cases.push_back({"64 x 512, whole", 12, 12, 64, 16, texts, {.is_causal = false}});
  cases.push_back({"64 x 512, T5", 12, 12, 64, 16, texts, {.is_causal = false, .max_distance = 128}});
  return cases;
}

int run_bench(int argc, char** argv) {
  CLI::App app("Times prefills by paged attention on CUDA.");
  std::string json_path;
  int only = -1;
  app.add_option("--case", only, "run only this case, the first being 0");
  app.add_option("--json", json_path, "write the results to this file as well");
  CLI11_PARSE(app, argc, argv);
  if (num_cuda_devices() == 0) {
    fmt::print(stderr, "no CUDA device\n");
    return 1;
  }
  Stream stream(kCuda);
  cudaDeviceProp properties;
  COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, kCuda.index));
  nlohmann::json json = {{"device", properties.name}, {"results", nlohmann::json::array()}};
  fmt::print("{}\n{:<15} {:>6} {:>5} {:>6} {:>10} {:>8}\n", properties.name, "queries", "heads", "dim", "block", "us",
             "TFLOP/s");
  const std::vector<Case> all = cases();
  for (size_t i = 0; i < all.size(); ++i) {
    const Case& c = all[i];
    if (only >= 0 && i != static_cast<size_t>(only)) continue;
    const double us = time_case(c, stream);
    const double tflops = c.num_flops() / us * 1e-6;
    fmt::print("{:<15} {:>6} {:>5} {:>6} {:>10.2f} {:>8.1f}\n", c.name,
               fmt::format("{}:{}", c.num_heads, c.num_kv_heads), c.head_dim, c.block_size, us, tflops);
    json["results"].push_back({{"queries", c.name},
                               {"heads", c.num_heads},
                               {"kv_heads", c.num_kv_heads},
                               {"head_dim", c.head_dim},
                               {"block_size", c.block_size},
                               {"us", us},
                               {"tflops", tflops}});
  }
  return write_results(json_path, json.dump(2));
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::run_bench(argc, argv); }
