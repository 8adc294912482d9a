// Linear: a product with packed weights and a bias, or this shard's part of one.
#pragma once

#include "kernels/core/status.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_gated.h"
#include "parallel/tensor/row_parallel.h"
#include "runtime/layers/load_context.h"
#include "runtime/models/linear_slices.h"
#include "runtime/models/weight_map.h"

namespace cohort {

// Loads and packs `slices` of the weights of `map`. num_chunks: of the inputs that are loaded, see gemm.h.
Result<PackedWeight> load_weight(const LoadContext& context, const LinearMap& map, const LinearSlices& slices,
                                 int num_chunks = 1);

class Linear {
 public:
  // load_weight(), and the biases of the outputs.
  static Result<Linear> load(const LoadContext& context, const LinearMap& map, const LinearSlices& slices,
                             int num_chunks = 1);
  // All of `map`, on every shard.
  static Result<Linear> load_whole(const LoadContext& context, const LinearMap& map) {
    return load(context, map, output_slices(map, {0, map.num_outputs()}));
  }
  // Packs a table that is loaded already, as tied logits do. [n, k], no bias.
  static Linear pack(ConstTensorView weight, const Arithmetic& arithmetic, Stream& stream);

  // out [num_tokens, num_outputs] = x [num_tokens, num_inputs] * weight^T + bias
  void forward(TensorView out, ConstTensorView x, Stream& stream) const { gemm(out, x, weight_, bias_, stream); }
  // out [num_tokens, num_outputs / 2]: the first half of the outputs, activated, times the second half. gate_up
  // [num_tokens, num_outputs] may hold the outputs meanwhile.
  void forward_gated(TensorView out, TensorView gate_up, ConstTensorView x, Activation activation,
                     Stream& stream) const {
    gemm_gated(out, gate_up, x, weight_, bias_, activation, stream);
  }
  // As forward(), in `out`, as a sum over the shards of `comm` when the inputs are split among them; null for one
  // shard.
  ShardedSum forward_row_parallel(TensorView out, ConstTensorView x, DeviceComm* comm, ReductionWorkspace& workspace,
                                  Stream& stream) const {
    return row_parallel_gemm(out, x, weight_, bias_, comm, workspace, stream);
  }

  int64_t num_outputs() const { return weight_.n(); }
  int64_t num_bytes() const { return weight_.num_bytes() + bias_->num_bytes(); }

 private:
  PackedWeight weight_;
  Tensor bias_;  // [num_outputs] float32, or empty
};

}  // namespace cohort
