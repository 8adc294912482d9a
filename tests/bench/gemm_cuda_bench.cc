// Times the kernels behind gemm() on CUDA with the matrices of a 13B model.
//
//   gemm_cuda_bench [--json FILE]
//
// For few rows what counts is bytes a second, against what copying memory reaches in the same run; for many, operations
// a second. Weights rotate, so that the L2 cache has none of them; times are medians of CUDA graphs.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/gemm/kernels_cuda.h"
#include "tests/bench/cuda_bench.h"

namespace cohort {
namespace {

using gemm_internal::CudaKernel;

constexpr int64_t kMaxRows = 2048;

struct WeightShape {
  int64_t k, n;
};
constexpr WeightShape kShapes[] = {{5120, 15360}, {5120, 5120}, {5120, 27648}, {13824, 5120}};

// bfloat16 of magnitude 1 to 2 and either sign: zeros would cost less power, and be faster.
Tensor random_matrix(int64_t rows, int64_t columns, uint32_t seed) {
  Tensor host(DType::kBF16, Shape{rows, columns});
  uint32_t state = seed;
  bf16* const values = host->data<bf16>();
  for (int64_t i = 0; i < rows * columns; ++i) {
    state = state * 1664525u + 1013904223u;
    values[i].bits = static_cast<uint16_t>(((state >> 16) & 0x807fu) | 0x3f80u);
  }
  return host;
}

Tensor on_device(const Tensor& host) {
  Tensor copy(host->dtype(), host->shape(), kCuda);
  copy_bytes(copy->data(), kCuda, host->data(), kCpuDevice, host->num_bytes());
  return copy;
}

std::vector<PackedWeight> rotating_weights(const WeightShape& shape, Stream& stream) {
  const Tensor host = random_matrix(shape.n, shape.k, 1);
  std::vector<PackedWeight> weights;
  int64_t num_bytes = 0;
  while (num_bytes < kRotatedBytes) {
    const ConstTensorView source = weights.empty()
                                       ? ConstTensorView(host)
                                       : ConstTensorView(weights[0].data(), DType::kBF16, {shape.n, shape.k}, kCuda);
    weights.push_back(PackedWeight::pack(source, WeightLayout::kOutIn, DType::kBF16, 1, stream));
    num_bytes += weights.back().num_bytes();
  }
  return weights;
}

class Bench {
 public:
  explicit Bench(Stream& stream) : stream_(stream), ceiling_(copy_ceiling(stream)) {
    cudaDeviceProp properties;
    COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, kCuda.index));
    json_ = {{"device", properties.name}, {"copy_gb_per_s", ceiling_ / 1e9}, {"results", nlohmann::json::array()}};
    fmt::print("{}, copying at {:.0f} GB/s\n", properties.name, ceiling_ / 1e9);
    fmt::print("{:>6} {:>6} {:>6}  {:<16} {:>9} {:>7} {:>7} {:>8}\n", "k", "n", "rows", "kernel", "us", "GB/s",
               "of copy", "TFLOP/s");
  }

  void run(const WeightShape& shape) {
    const std::vector<PackedWeight> weights = rotating_weights(shape, stream_);
    const Tensor x = on_device(random_matrix(kMaxRows, shape.k, 2));
    const Tensor out(DType::kBF16, Shape{kMaxRows, shape.n}, kCuda);
    for (const int64_t num_rows :
         {int64_t{1}, int64_t{2}, int64_t{4}, int64_t{8}, int64_t{16}, int64_t{64}, kMaxRows}) {
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
      measure("cuBLASLt", CudaKernel::kCublasLt);
      cuda::run_cublaslt_gemm(to, rows, weights[0], {}, stream_, /*tunes=*/true);
      measure("cuBLASLt, tuned", CudaKernel::kCublasLt);
      measure("tiled", CudaKernel::kTiled);
    }
  }

  const nlohmann::json& json() const { return json_; }

 private:
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
  for (const WeightShape& shape : kShapes) bench.run(shape);
  if (json_path.empty()) return 0;
  std::ofstream file(json_path);
  file << bench.json().dump(2) << "\n";
  file.close();
  if (!file) fmt::print(stderr, "{}: cannot be written\n", json_path);
  return file ? 0 : 1;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::run_bench(argc, argv); }
