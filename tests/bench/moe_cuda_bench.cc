// Mixtures of experts on CUDA, of the shapes of Mixtral 8x7B: a layer's routing and experts, in a CUDA graph, with
// tokens that choose at random. For few tokens against what reading the chosen experts' weights takes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "kernels/moe/moe.h"
#include "tests/bench/cuda_bench.h"

namespace cohort {
namespace {

constexpr MoeShape kMixtral{
    .hidden = 4096, .ffn = 14336, .num_experts = 8, .experts_per_token = 2, .first_expert = 0, .num_local_experts = 8};
constexpr int64_t kMaxTokens = 2048;
constexpr int kNumChoices = 8;  // of all tokens, in turn

Tensor random_logits(int64_t num_tokens, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(num_tokens * kMixtral.num_experts));
  for (float& value : values) value = normal(rng);
  Tensor logits(DType::kF32, {num_tokens, kMixtral.num_experts}, kCuda);
  copy_bytes(logits->data(), kCuda, values.data(), kCpuDevice, logits->num_bytes());
  return logits;
}

std::vector<PackedWeight> random_matrices(int64_t n, int64_t k, GemmMode mode, Stream& stream) {
  std::vector<PackedWeight> matrices;
  matrices.push_back(PackedWeight::pack(random_tensor({kMixtral.num_local_experts * n, k}, 1), WeightLayout::kOutIn,
                                        DType::kBF16, 1, mode, stream));
  return matrices;
}

class Bench {
 public:
  Bench(GemmMode mode, double ceiling, Stream& stream)
      : stream_(stream),
        ceiling_(ceiling),
        mode_(mode),
        experts_{kMixtral, Activation::kSilu, random_matrices(2 * kMixtral.ffn, kMixtral.hidden, mode, stream),
                 random_matrices(kMixtral.hidden, kMixtral.ffn, mode, stream)},
        workspace_(kMixtral, DType::kBF16, kMaxTokens, kCuda),
        x_(random_tensor({kMaxTokens, kMixtral.hidden}, 2)),
        out_(DType::kBF16, {kMaxTokens, kMixtral.hidden}, kCuda) {}

  nlohmann::json run(int64_t num_tokens) {
    std::vector<Tensor> logits;
    double num_chosen = 0;  // experts, on average
    for (int i = 0; i < kNumChoices; ++i) {
      logits.push_back(random_logits(num_tokens, static_cast<uint32_t>(i)));
      num_chosen += static_cast<double>(count_chosen(logits.back())) / kNumChoices;
    }
    const double us = time_us(stream_, kNumChoices, [&](int i) { submit(logits[static_cast<size_t>(i)]); });
    const double expert_elements = 3.0 * static_cast<double>(kMixtral.ffn * kMixtral.hidden);
    const double bytes_per_s = 2 * expert_elements * num_chosen / us * 1e6;
    const double tflops = 2e-6 * expert_elements * static_cast<double>(num_tokens * kMixtral.experts_per_token) / us;
    const char* const mode = mode_ == GemmMode::kFast ? "fast" : "deterministic";
    fmt::print("{:>6} {:>14} {:>8.1f} {:>9.1f} {:>7.0f} {:>6.1f}% {:>8.1f}\n", num_tokens, mode, num_chosen, us,
               bytes_per_s / 1e9, 100 * bytes_per_s / ceiling_, tflops);
    return {{"tokens", num_tokens},
            {"mode", mode},
            {"experts", num_chosen},
            {"us", us},
            {"gb_per_s", bytes_per_s / 1e9},
            {"of_copy", bytes_per_s / ceiling_},
            {"tflops", tflops}};
  }

 private:
  int64_t count_chosen(const Tensor& logits) {
    route(workspace_, logits, kMixtral, true, stream_);
    stream_.synchronize();
    std::vector<int32_t> experts(static_cast<size_t>(logits->dim(0) * kMixtral.experts_per_token));
    copy_bytes(experts.data(), kCpuDevice, workspace_.experts->data(), kCuda,
               static_cast<int64_t>(experts.size() * sizeof(int32_t)));
    return static_cast<int64_t>(std::set<int32_t>(experts.begin(), experts.end()).size());
  }

  void submit(const Tensor& logits) {
    const int64_t num_tokens = logits->dim(0);
    route(workspace_, logits, kMixtral, true, stream_);
    expert_mlp(out_->slice(0, 0, num_tokens), x_->slice(0, 0, num_tokens), experts_, workspace_, stream_);
  }

  Stream& stream_;
  const double ceiling_;
  const GemmMode mode_;
  ExpertWeights experts_;
  MoeWorkspace workspace_;
  Tensor x_;    // [kMaxTokens, hidden]
  Tensor out_;  // likewise
};

int run_bench(int argc, char** argv) {
  CLI::App app("Times mixtures of experts on CUDA.");
  std::string json_path;
  app.add_option("--json", json_path, "write the results to this file as well");
  CLI11_PARSE(app, argc, argv);
  if (num_cuda_devices() == 0) {
    fmt::print(stderr, "no CUDA device\n");
    return 1;
  }
  Stream stream(kCuda);
  const double ceiling = copy_ceiling(stream);
  nlohmann::json json = {{"copy_gb_per_s", ceiling / 1e9}, {"results", nlohmann::json::array()}};
  fmt::print("copying at {:.0f} GB/s\n", ceiling / 1e9);
  fmt::print("{:>6} {:>14} {:>8} {:>9} {:>7} {:>7} {:>8}\n", "tokens", "mode", "experts", "us", "GB/s", "of copy",
             "TFLOP/s");
  for (const GemmMode mode : {GemmMode::kFast, GemmMode::kDeterministic}) {
    Bench bench(mode, ceiling, stream);
    for (const int64_t num_tokens : {1, 2, 4, 8, 16, 32, 64, 128, 512, 2048}) {
      json["results"].push_back(bench.run(num_tokens));
    }
  }
  return write_results(json_path, json.dump(2));
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::run_bench(argc, argv); }
