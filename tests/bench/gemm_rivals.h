// The libraries that gemm_bench compares with. Each is a file of its own, linked when CMake finds
// the library, and adds itself to the list.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/tensor.h"

namespace cohort {

class GemmRival {
 public:
  virtual ~GemmRival() = default;
  virtual std::string name() const = 0;
  // out [m, n] = x [m, k] * weight^T, with the weight given to the factory.
  virtual void run(TensorView out, ConstTensorView x) = 0;
};

// weight: [n, k] of the dtype of x and out. Null when the library has no such product on this CPU.
using GemmRivalFactory = std::unique_ptr<GemmRival> (*)(ConstTensorView weight, int64_t num_rows);

inline std::vector<GemmRivalFactory>& gemm_rival_factories() {
  static std::vector<GemmRivalFactory> factories;
  return factories;
}

struct RegisterGemmRival {
  explicit RegisterGemmRival(GemmRivalFactory factory) { gemm_rival_factories().push_back(factory); }
};

}  // namespace cohort
