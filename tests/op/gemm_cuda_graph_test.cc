// gemm() in a CUDA graph. Capturing fails if a call takes memory or waits.
#include "kernels/core/cuda_check.h"
#include "kernels/gemm/gemm_cuda.h"
#include "tests/op/gemm_cuda_testing.h"

namespace cohort {
namespace {

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

}  // namespace
}  // namespace cohort
