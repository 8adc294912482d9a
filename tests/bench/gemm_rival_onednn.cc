#include <dnnl.hpp>

#include "tests/bench/gemm_rivals.h"

namespace cohort {
namespace {

// oneDNN's matmul with the weight reordered beforehand as it likes best.
class OneDnn : public GemmRival {
 public:
  OneDnn(ConstTensorView weight, int64_t m, dnnl::memory::data_type type)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    const int64_t n = weight.dim(0);
    const int64_t k = weight.dim(1);
    x_desc_ = memory::desc({m, k}, type, memory::format_tag::ab);
    out_desc_ = memory::desc({m, n}, type, memory::format_tag::ab);
    const memory::desc any({k, n}, type, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description({x_desc_, any, out_desc_}, engine_);
    matmul_ = dnnl::matmul(description);
    weight_ = memory(description.weights_desc(), engine_);
    memory given({{k, n}, type, memory::format_tag::ba}, engine_, const_cast<void*>(weight.data()));
    dnnl::reorder(given, weight_).execute(stream_, given, weight_);
    stream_.wait();
    implementation_ = description.impl_info_str();
  }

  std::string name() const override { return "oneDNN(" + implementation_ + ")"; }
  void run(TensorView out, ConstTensorView x) override {
    const dnnl::memory source(x_desc_, engine_, const_cast<void*>(x.data()));
    const dnnl::memory destination(out_desc_, engine_, out.data());
    matmul_.execute(stream_, {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weight_}, {DNNL_ARG_DST, destination}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::memory::desc x_desc_;
  dnnl::memory::desc out_desc_;
  dnnl::memory weight_;
  dnnl::matmul matmul_;
  std::string implementation_;
};

const RegisterGemmRival kRegistered([](ConstTensorView weight, int64_t num_rows) {
  std::unique_ptr<GemmRival> rival;
  const bool is_f32 = weight.dtype() == DType::kF32;
  if (weight.dtype() == DType::kF16) return rival;
  try {
    rival = std::make_unique<OneDnn>(weight, num_rows,
                                     is_f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16);
  } catch (const dnnl::error&) {  // not on this CPU
  }
  return rival;
});

}  // namespace
}  // namespace cohort
