// gemm() in a CUDA graph. Capturing fails if a call takes memory or waits.
#include <optional>
#include <vector>

#include "kernels/core/cuda_check.h"
#include "kernels/gemm/gemm_cuda.h"
#include "tests/op/gemm_cuda_testing.h"

namespace cohort {
namespace {

using gemm_internal::CudaKernel;

class GemmCudaGraph : public GemmCuda {};

// Runs what `submit` queues, by a graph.
template <typename F>
void run_captured(Stream& stream, F&& submit) {
  const auto handle = static_cast<cudaStream_t>(stream.handle());
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  COHORT_CUDA_CHECK(cudaStreamBeginCapture(handle, cudaStreamCaptureModeGlobal));
  submit();
  COHORT_CUDA_CHECK(cudaStreamEndCapture(handle, &graph));
  COHORT_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  COHORT_CUDA_CHECK(cudaGraphLaunch(executable, handle));
  stream.synchronize();
  COHORT_CUDA_CHECK(cudaGraphExecDestroy(executable));
  COHORT_CUDA_CHECK(cudaGraphDestroy(graph));
}

TEST_F(GemmCudaGraph, GivesTheSameBits) {
  Stream stream(kCuda);
  prepare_gemm(stream);
  for (const GemmMode mode : {GemmMode::kFast, GemmMode::kDeterministic}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t m : {1, 8, 40, 200}) {
        const Case c(dtype, m, 264, 512);
        const DeviceCase device_case(c);
        const PackedWeight weight = pack(c.weight.view(), dtype, 4, mode, stream);
        const DeviceMatrix direct(dtype, m, 264);
        const DeviceMatrix captured(dtype, m, 264);
        gemm(direct.view(), device_case.x.view(), weight, device_case.bias, stream);
        stream.synchronize();
        run_captured(stream, [&] { gemm(captured.view(), device_case.x.view(), weight, device_case.bias, stream); });
        EXPECT_TRUE(all_equal(captured.fetch(), direct.fetch())) << dtype_name(dtype) << ", " << m << " rows";
      }
    }
  }
}

// Products of which each takes what the one before gives, with and without waiting in between: a kernel begins before
// the one before is done, and must not read yet what that one writes, nor write what it reads.
TEST_F(GemmCudaGraph, ChainedProductsWaitForEachOther) {
  constexpr int64_t kWidths[] = {512, 4096, 264, 9000};  // inputs of the products, one after the other in a circle
  constexpr int kNumRounds = 5;
  Stream stream(kCuda);
  prepare_gemm(stream);
  std::mt19937 rng(1);
  std::vector<PackedWeight> weights;
  for (size_t i = 0; i < std::size(kWidths); ++i) {
    Matrix weight(DType::kBF16, kWidths[(i + 1) % std::size(kWidths)], kWidths[i]);
    weight.fill(rng, 1 / std::sqrt(static_cast<float>(kWidths[i])));  // keeps the magnitude
    weights.push_back(pack(weight.view(), DType::kBF16, 1, GemmMode::kFast, stream));
  }
  for (const int64_t m : {1, 16, 64}) {
    Matrix first(DType::kBF16, m, kWidths[0]);
    first.fill(rng);
    const DeviceMatrix inputs(first);
    std::vector<DeviceMatrix> values;
    for (const int64_t width : kWidths) values.emplace_back(DType::kBF16, m, width);
    const auto problem = cuda::problem_of(inputs.view(), weights[0], stream);
    std::vector<std::optional<CudaKernel>> kernels = {std::nullopt};
    if (can_be_skinny(problem)) kernels.push_back(CudaKernel::kSkinny);
    if (can_be_wide(problem)) kernels.push_back(CudaKernel::kWide);
    for (const std::optional<CudaKernel> kernel : kernels) {
      const auto submit = [&](bool waits) {
        for (size_t i = 0; i < kNumRounds * weights.size(); ++i) {
          const ConstTensorView x = i == 0 ? inputs.view() : values[i % values.size()].view();
          const TensorView out = values[(i + 1) % values.size()].view();
          const PackedWeight& weight = weights[i % weights.size()];
          if (kernel) {
            cuda::run_gemm(*kernel, out, x, weight, {}, stream);
          } else {
            gemm(out, x, weight, {}, stream);
          }
          if (waits) stream.synchronize();
        }
      };
      submit(true);
      const Matrix expected = values[0].fetch();
      for (int i = 0; i < 3; ++i) {
        run_captured(stream, [&] { submit(false); });
        EXPECT_TRUE(all_equal(values[0].fetch(), expected)) << m << " rows";
      }
    }
  }
}

}  // namespace
}  // namespace cohort
