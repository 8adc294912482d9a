// Which outputs and inputs of a product a shard loads.
#pragma once

#include <vector>

#include "runtime/models/model_shard.h"
#include "runtime/models/weight_map.h"

namespace cohort {

struct LinearSlices {
  std::vector<Slice> outputs;  // in the order in which the shard stacks them; neighbours are merged
  Slice inputs;
};

// Column-parallel: the q, k and v heads of the shard, one after the other, whatever their order in the checkpoint.
LinearSlices qkv_slices(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard);
// Column-parallel: its part of the MLP, of gate and of up where it is gated.
LinearSlices up_slices(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard);
// Column-parallel: of k and v of cross-attention the heads of the shard.
LinearSlices cross_kv_slices(const ModelSpec& spec, const LinearMap& map, const ModelShard& shard);
// Row-parallel: all outputs, and the inputs [begin, end).
LinearSlices input_slices(const LinearMap& map, Slice inputs);
// Column-parallel: the outputs [begin, end).
LinearSlices output_slices(const LinearMap& map, Slice outputs);

}  // namespace cohort
