// Probe: a look at every intermediate of a forward pass, for comparing with a reference; nothing in production.
//
// Names: embed; layers.N.{attn_norm, q, k, v, attn_context, attn_out, mlp_norm, mlp_out, out}; final_norm; logits. q
// and k are those that enter attention, after rotary positions. A norm that a model has not is not shown. Models with
// sources have layers.N.{cross_norm, cross_q, cross_context, cross_out} too, and layers.N.{cross_k, cross_v} of the
// source; what reads that has the first names with "encoder." before them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "kernels/core/tensor.h"
#include "parallel/tensor/row_parallel.h"

namespace cohort {

using ProbeFunction = std::function<void(std::string_view name, ConstTensorView x)>;

// A probe function with the prefix of where it looks. Off when there is no function.
class Probe {
 public:
  Probe() = default;
  explicit Probe(const ProbeFunction* function, std::string prefix = "")
      : function_(function), prefix_(std::move(prefix)) {}

  void operator()(std::string_view name, ConstTensorView x) const {
    if (function_ != nullptr && *function_) (*function_)(prefix_ + std::string(name), x);
  }
  // The same of a sum, which is made for whoever looks.
  void operator()(std::string_view name, ShardedSum& x, Stream& stream) const {
    if (function_ == nullptr || !*function_) return;
    x.complete(stream);
    (*this)(name, x.value);
  }
  Probe layer(int64_t i) const {
    if (function_ == nullptr) return {};
    return Probe(function_, prefix_ + "layers." + std::to_string(i) + ".");
  }

 private:
  const ProbeFunction* function_ = nullptr;
  std::string prefix_;
};

}  // namespace cohort
