// Times the kernels behind gemm() on CUDA.
//
//   gemm_cuda_bench [--json FILE]
//
// Chains are what decides for few rows: the products of a decoder layer, of a 13B model and of a shard of a 70B one,
// with a small kernel after each (unless gemm_gated() takes it in), as one CUDA graph; what counts is bytes of weights
// a second, against what copying memory reaches in the same run. Then each product of the 13B model alone; for many
// rows what counts is operations a second. Weights rotate, so that the L2 cache has none of them; times are medians of
// CUDA graphs.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "kernels/gemm/gemm_gated.h"
#include "kernels/gemm/kernels_cuda.h"
#include "tests/bench/cuda_bench.h"
#include "tests/bench/gemm_chain_cuda.h"

namespace cohort {
namespace {

using gemm_internal::CudaKernel;

constexpr int64_t kMaxRows = 2048;

struct WeightShape {
  int64_t k, n;
};
constexpr WeightShape kShapes[] = {{5120, 15360}, {5120, 5120}, {5120, 27648}, {13824, 5120}};

// Of a decoder layer: queries, keys and values; attention's output; gate and up; down.
struct Layer {
  const char* name;
  std::array<WeightShape, 4> shapes;
};
constexpr Layer kLayers[] = {{"13B", {kShapes[0], kShapes[1], kShapes[2], kShapes[3]}},
                             {"70B, 1 of 2", {{{8192, 5120}, {4096, 8192}, {8192, 28672}, {14336, 8192}}}}};
constexpr int kNumLayers = 4;  // of distinct weights

std::vector<PackedWeight> rotating_weights(const WeightShape& shape, Stream& stream) {
  const Tensor values = random_tensor({shape.n, shape.k}, 1);
  std::vector<PackedWeight> weights;
  int64_t num_bytes = 0;
  while (num_bytes < kRotatedBytes) {
    weights.push_back(PackedWeight::pack(values, WeightLayout::kOutIn, DType::kBF16, 1, stream));
    num_bytes += weights.back().num_bytes();
  }
  return weights;
}

// The products of decoder layers, each followed by a small kernel, which depends on it and on which the next depends:
// that of gate and up by their activation.
class Chain {
 public:
  Chain(const Layer& layer, Stream& stream) : stream_(stream) {
    for (const WeightShape& shape : layer.shapes) {
      std::vector<PackedWeight>& weights = weights_.emplace_back();
      const Tensor values = random_tensor({shape.n, shape.k}, 1);
      for (int i = 0; i < kNumLayers; ++i) {
        weights.push_back(PackedWeight::pack(values, WeightLayout::kOutIn, DType::kBF16, 1, stream));
      }
      num_bytes_ += weights[0].num_bytes();
      x_.push_back(random_tensor({gemm_internal::kMaxWideRows, shape.k}, 2));
      out_.emplace_back(DType::kBF16, Shape{gemm_internal::kMaxWideRows, shape.n}, kCuda);
    }
  }

  int64_t num_bytes() const { return num_bytes_; }  // of the weights of a layer

  // Microseconds of a layer whose products are computed by `kernel`, or as gemm() and gemm_gated() choose.
  double time(int64_t num_rows, std::optional<CudaKernel> kernel) {
    constexpr size_t kGateAndUp = 2;
    return time_us(stream_, kNumLayers, [&](int layer) {
      for (size_t i = 0; i < weights_.size(); ++i) {
        const ConstTensorView x = x_[i]->slice(0, 0, num_rows);
        const PackedWeight& weight = weights_[i][static_cast<size_t>(layer)];
        const TensorView out = out_[i]->slice(0, 0, num_rows);
        const TensorView next = x_[(i + 1) % x_.size()]->slice(0, 0, num_rows);
        if (i == kGateAndUp && !kernel) {
          gemm_gated(next, out, x, weight, {}, Activation::kSilu, stream_);
          continue;
        }
        if (kernel) {
          cuda::run_gemm(*kernel, out, x, weight, {}, stream_);
        } else {
          gemm(out, x, weight, {}, stream_);
        }
        if (i == kGateAndUp) {
          activate_gated(next, out, Activation::kSilu, stream_);
          continue;
        }
        // The magnitude of a product of elements of 1 to 2.
        pass_on(next.slice(1, 0, std::min(out.dim(1), next.dim(1))), out, 128, stream_);
      }
    });
  }

 private:
  Stream& stream_;
  std::vector<std::vector<PackedWeight>> weights_;  // [product] [layer]
  std::vector<Tensor> x_;                           // [product], [kMaxSkinnyRows, k]
  std::vector<Tensor> out_;                         // [product], [kMaxSkinnyRows, n]
  int64_t num_bytes_ = 0;
};

class Bench {
 public:
  explicit Bench(Stream& stream) : stream_(stream), ceiling_(copy_ceiling(stream)) {
    cudaDeviceProp properties;
    COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, kCuda.index));
    json_ = {{"device", properties.name},
             {"copy_gb_per_s", ceiling_ / 1e9},
             {"chains", nlohmann::json::array()},
             {"results", nlohmann::json::array()}};
    fmt::print("{}, copying at {:.0f} GB/s\n", properties.name, ceiling_ / 1e9);
  }

  void run_chains() {
    fmt::print("{:>12} {:>6}  {:<16} {:>9} {:>7} {:>7}\n", "layer", "rows", "kernel", "us", "GB/s", "of copy");
    for (const Layer& layer : kLayers) {
      Chain chain(layer, stream_);
      for (const int64_t num_rows : {1, 2, 4, 8, 16, 32, 64}) {
        const auto measure = [&](const char* name, std::optional<CudaKernel> kernel) {
          const double us = chain.time(num_rows, kernel);
          const double bytes_per_s = static_cast<double>(chain.num_bytes()) / us * 1e6;
          fmt::print("{:>12} {:>6}  {:<16} {:>9.2f} {:>7.0f} {:>6.1f}%\n", layer.name, num_rows, name, us,
                     bytes_per_s / 1e9, 100 * bytes_per_s / ceiling_);
          json_["chains"].push_back({{"layer", layer.name},
                                     {"rows", num_rows},
                                     {"kernel", name},
                                     {"us", us},
                                     {"gb_per_s", bytes_per_s / 1e9},
                                     {"of_copy", bytes_per_s / ceiling_}});
        };
        measure("cuBLASLt", CudaKernel::kCublasLt);
        if (num_rows <= gemm_internal::kMaxSkinnyRows) measure("skinny", CudaKernel::kSkinny);
        measure("wide", CudaKernel::kWide);
        measure("chosen", {});
      }
    }
  }

  void run_products() {
    fmt::print("{:>6} {:>6} {:>6}  {:<16} {:>9} {:>7} {:>7} {:>8}\n", "k", "n", "rows", "kernel", "us", "GB/s",
               "of copy", "TFLOP/s");
    for (const WeightShape& shape : kShapes) run(shape);
  }

  const nlohmann::json& json() const { return json_; }

 private:
  void run(const WeightShape& shape) {
    const std::vector<PackedWeight> weights = rotating_weights(shape, stream_);
    const Tensor x = random_tensor({kMaxRows, shape.k}, 2);
    const Tensor out(DType::kBF16, Shape{kMaxRows, shape.n}, kCuda);
    for (const int64_t num_rows :
         {int64_t{1}, int64_t{2}, int64_t{4}, int64_t{8}, int64_t{16}, int64_t{32}, int64_t{64}, kMaxRows}) {
      const TensorView to = out->slice(0, 0, num_rows);
      const ConstTensorView rows = x->slice(0, 0, num_rows);
      const auto measure = [&](const char* name, CudaKernel kernel) {
        const int num_calls = std::max(8, static_cast<int>(weights.size()));
        const double us = time_us(stream_, num_calls, [&](int i) {
          cuda::run_gemm(kernel, to, rows, weights[static_cast<size_t>(i) % weights.size()], {}, stream_);
        });
        report(shape, num_rows, name, us);
      };
      if (num_rows <= gemm_internal::kMaxSkinnyRows) measure("skinny", CudaKernel::kSkinny);
      if (num_rows <= gemm_internal::kMaxWideRows) measure("wide", CudaKernel::kWide);
      measure("cuBLASLt", CudaKernel::kCublasLt);
      cuda::run_cublaslt_gemm(to, rows, weights[0], {}, stream_, /*tunes=*/true);
      measure("cuBLASLt, tuned", CudaKernel::kCublasLt);
      measure("tiled", CudaKernel::kTiled);
    }
  }

  void report(const WeightShape& shape, int64_t num_rows, const char* kernel, double us) {
    const auto num_elements = static_cast<double>(shape.n * shape.k + num_rows * (shape.k + shape.n));
    const double bytes_per_s = 2 * num_elements / us * 1e6;
    const double tflops = 2e-6 * static_cast<double>(num_rows * shape.n * shape.k) / us;
    fmt::print("{:>6} {:>6} {:>6}  {:<16} {:>9.2f} {:>7.0f} {:>6.1f}% {:>8.1f}\n", shape.k, shape.n, num_rows, kernel,
               us, bytes_per_s / 1e9, 100 * bytes_per_s / ceiling_, tflops);
    json_["results"].push_back({{"k", shape.k},
                                {"n", shape.n},
                                {"rows", num_rows},
                                {"kernel", kernel},
                                {"us", us},
                                {"gb_per_s", bytes_per_s / 1e9},
                                {"of_copy", bytes_per_s / ceiling_},
                                {"tflops", tflops}});
  }

  Stream& stream_;
  const double ceiling_;
  nlohmann::json json_;
};

int run_bench(int argc, char** argv) {
  CLI::App app("Times the kernels behind gemm() on CUDA.");
  std::string json_path;
  app.add_option("--json", json_path, "write the results to this file as well");
  CLI11_PARSE(app, argc, argv);
  if (num_cuda_devices() == 0) {
    fmt::print(stderr, "no CUDA device\n");
    return 1;
  }
  Stream stream(kCuda);
  prepare_gemm(stream);
  Bench bench(stream);
  bench.run_chains();
  bench.run_products();
  return write_results(json_path, bench.json().dump(2));
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::run_bench(argc, argv); }
