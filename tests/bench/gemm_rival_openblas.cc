#include <cblas.h>

#include "tests/bench/gemm_rivals.h"

namespace cohort {
namespace {

class OpenBlas : public GemmRival {
 public:
  explicit OpenBlas(ConstTensorView weight) : weight_(weight) {}

  std::string name() const override { return "OpenBLAS"; }
  void run(TensorView out, ConstTensorView x) override {
    const auto m = static_cast<blasint>(x.dim(0));
    const auto n = static_cast<blasint>(out.dim(1));
    const auto k = static_cast<blasint>(x.dim(1));
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, x.data<float>(), k, weight_.data<float>(), k,
                0.0f, out.data<float>(), n);
  }

 private:
  ConstTensorView weight_;
};

const RegisterGemmRival kRegistered([](ConstTensorView weight, int64_t) {
  std::unique_ptr<GemmRival> rival;
  if (weight.dtype() == DType::kF32) rival = std::make_unique<OpenBlas>(weight);
  return rival;
});

}  // namespace
}  // namespace cohort
