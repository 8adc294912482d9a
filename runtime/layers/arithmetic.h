// Arithmetic: how the layers of a model compute, chosen when it is loaded.
#pragma once

#include "kernels/core/dtype.h"
#include "kernels/gemm/gemm.h"

namespace cohort {

// What is promised of the bits that a model computes.
//   kFast           the same command on the same devices gives the same; another batch or layout may round otherwise
//   kDeterministic  a sequence's bits depend neither on the sequences it runs with, nor on how its prompt was cut,
//                   nor on the number of shards and stages; see gemm.h, attention.h and device_comm.h
// The CPU is always deterministic.
enum class Numerics { kFast, kDeterministic };

struct Arithmetic {
  DType dtype = DType::kF32;  // of weights and activations
  Numerics numerics = Numerics::kFast;

  bool is_deterministic() const { return numerics == Numerics::kDeterministic; }
  GemmMode gemm_mode() const { return is_deterministic() ? GemmMode::kDeterministic : GemmMode::kFast; }
};

}  // namespace cohort
