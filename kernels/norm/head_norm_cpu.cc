#include <algorithm>
#include <functional>

#include "kernels/norm/head_norm_backends.h"
#include "kernels/norm/norm_row_cpu.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinElementsPerPiece = 8192;  // below this, waking a thread costs more than it saves

void norm_heads(const TensorView& x, const ConstTensorView& weight, float eps, Stream& stream) {
  if (x.empty()) return;
  const float* const w = weight.data<float>();
  const int64_t num_heads = x.dim(1);
  dispatch_float(x.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* const head = x.row<T>(i / num_heads) + i % num_heads * x.stride(1);
        rms_norm_row(head, head, w, x.dim(2), eps);
      }
    };
    stream.parallel_for(x.dim(0) * num_heads, std::max<int64_t>(1, kMinElementsPerPiece / x.dim(2)), std::ref(body));
  });
}

}  // namespace

void head_rms_norm(TensorView q, TensorView k, ConstTensorView q_weight, ConstTensorView k_weight, float eps,
                   Stream& stream) {
  norm_heads(q, q_weight, eps, stream);
  norm_heads(k, k_weight, eps, stream);
}

}  // namespace cohort::cpu
