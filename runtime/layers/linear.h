// Linear: a product with packed weights and a bias.
#pragma once

#include "kernels/core/status.h"
#include "kernels/gemm/gemm.h"
#include "runtime/models/weight_map.h"
#include "runtime/weights/weight_source.h"

namespace cohort {

class Linear {
 public:
  // Loads and packs the tensors of `map`, stacked along the outputs. num_chunks: see gemm.h.
  static Result<Linear> load(const LinearMap& map, DType dtype, int num_chunks, WeightSource& source, Stream& stream);

  // out [num_tokens, num_outputs] = x [num_tokens, num_inputs] * weight^T + bias
  void forward(TensorView out, ConstTensorView x, Stream& stream) const { gemm(out, x, weight_, bias_, stream); }

  int64_t num_outputs() const { return weight_.n(); }
  int64_t num_bytes() const { return weight_.num_bytes() + bias_->num_bytes(); }

 private:
  PackedWeight weight_;
  Tensor bias_;  // [num_outputs] float32, or empty
};

}  // namespace cohort
