// LoadContext: what every layer is told when it is loaded.
#pragma once

#include "kernels/core/stream.h"
#include "runtime/layers/arithmetic.h"
#include "runtime/models/model_shard.h"
#include "runtime/weights/weight_source.h"

namespace cohort {

// Borrows everything for the time of loading.
struct LoadContext {
  const ModelSpec& spec;
  const ModelShard& shard;  // what this rank loads
  Arithmetic arithmetic;
  WeightSource& source;
  Stream& stream;  // of the device that computes
  // Of the stack that is loaded: AttentionParams::position_bias of this shard's heads, or empty.
  ConstTensorView position_bias = {};

  Device device() const { return stream.device(); }
};

}  // namespace cohort
