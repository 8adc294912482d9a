// How much of a model one rank holds.
#pragma once

#include <cstdint>

#include "runtime/models/linear_slices.h"

namespace cohort {

// Elements of the slices that the rank loads, each tensor once.
int64_t num_shard_elements(const ModelSpec& spec, const WeightMap& map, const ModelShard& shard);

// Elements of the rank's tables of embeddings, of which a token reads a row of each.
int64_t num_table_elements(const ModelSpec& spec, const ModelShard& shard);

// Bytes of weights in memory when they are of `dtype`: as loaded, and once more what tied logits pack. Padding and the
// float32 of norms and biases are left out.
int64_t shard_weight_bytes(const ModelSpec& spec, const WeightMap& map, const ModelShard& shard, DType dtype);

// Bytes of keys and values that one token keeps in the rank's part of the cache.
int64_t shard_kv_bytes_per_token(const ModelSpec& spec, const ModelShard& shard, DType dtype);

}  // namespace cohort
