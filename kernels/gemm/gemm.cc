#include "kernels/gemm/gemm.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/gemm/check_gemm.h"
#include "kernels/gemm/gemm_cuda.h"
#include "kernels/gemm/kernels.h"

namespace cohort::gemm_internal {

void check_gemm(const ConstTensorView& out, const ConstTensorView& x, const PackedWeight& weight,
                const ConstTensorView& bias, const Stream& stream) {
  COHORT_CHECK(x.rank() == 2 && x.dim(1) == weight.k(),
               "x " + x.shape().to_string() + ", k " + std::to_string(weight.k()));
  COHORT_CHECK(out.rank() == 2 && out.dim(0) == x.dim(0) && out.dim(1) == weight.n(),
               "out " + out.shape().to_string() + ", x " + x.shape().to_string() + ", n " + std::to_string(weight.n()));
  COHORT_CHECK(x.dtype() == weight.dtype(),
               std::string(dtype_name(x.dtype())) + " x, " + std::string(dtype_name(weight.dtype())) + " weight");
  COHORT_CHECK(out.dtype() == x.dtype() || out.dtype() == DType::kF32, std::string(dtype_name(out.dtype())));
  COHORT_CHECK(bias.empty() || (bias.dtype() == DType::kF32 && bias.num_elements() == weight.n() && bias.is_dense()),
               "bias " + bias.shape().to_string());
  COHORT_CHECK(out.device() == stream.device() && x.device() == stream.device() && weight.device() == stream.device() &&
                   (bias.empty() || bias.device() == stream.device()),
               "out on " + to_string(out.device()) + ", x on " + to_string(x.device()) + ", weight on " +
                   to_string(weight.device()) + ", stream on " + to_string(stream.device()));
}

}  // namespace cohort::gemm_internal

namespace cohort {
namespace {

thread_local int num_tunings = 0;  // GemmTuning objects that live

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

}  // namespace

void gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream) {
  gemm_internal::check_gemm(out, x, weight, bias, stream);
  if (out.empty()) return;
  if (is_cuda(stream)) {
    if (num_tunings > 0) cuda::autotune_gemm(out, x, weight, bias, stream);
    return cuda::gemm(out, x, weight, bias, stream);
  }
  const gemm_internal::Problem problem{.num_rows = x.dim(0),
                                       .n = weight.n(),
                                       .k = weight.k(),
                                       .num_chunks = weight.num_chunks(),
                                       .dtype = weight.dtype(),
                                       .num_threads = stream.num_threads()};
  run_gemm(choose_config(problem, cpu_features()), out, x, weight, bias, stream);
}

GemmTuning::GemmTuning() { ++num_tunings; }
GemmTuning::~GemmTuning() { --num_tunings; }

void prepare_gemm(Stream& stream) {
  if (is_cuda(stream)) cuda::prepare_gemm(stream);
}

void autotune_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                   Stream& stream) {
  if (is_cuda(stream) && !out.empty()) {
    gemm_internal::check_gemm(out, x, weight, bias, stream);
    cuda::autotune_gemm(out, x, weight, bias, stream);
  }
  gemm(out, x, weight, bias, stream);
}

std::string_view sum_order_name(DType dtype) {
  const gemm_internal::Problem problem{.num_rows = 1, .n = 1, .k = 1, .dtype = dtype};
  switch (find_kernel(choose_config(problem, cpu_features()).isa, dtype).order) {
    case gemm_internal::SumOrder::kSequential:
      return "sequential";
    case gemm_internal::SumOrder::kPairGroups:
      return "pair groups";
    case gemm_internal::SumOrder::kPairs:
      return "pairs";
  }
  return "";
}

int choose_num_chunks(int64_t k, int64_t granule) {
  COHORT_CHECK(k > 0 && granule > 0, std::to_string(k) + ", " + std::to_string(granule));
  for (int num_chunks = 16; num_chunks > 1; num_chunks /= 2) {
    if (k % (num_chunks * granule) == 0) return num_chunks;
  }
  return 1;
}

}  // namespace cohort
