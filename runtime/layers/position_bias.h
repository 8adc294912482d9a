// The learned biases of PositionKind::kRelative: a checkpoint has one a head for each bucket, a run of distances; the
// attention kernels take one for each distance.
#pragma once

#include "runtime/layers/load_context.h"
#include "runtime/models/weight_map.h"

namespace cohort {

// The bucket of `distance`, a key's position minus its query's: one for each short distance, then ever longer runs, and
// the last for all from `max_distance` on. Half of the buckets are of keys before the query and half of those behind;
// with `is_causal` all are of those before (Raffel et al. 2020, "T5", section 2.1, and the code that goes with it).
int64_t position_bucket(int64_t distance, bool is_causal, int64_t num_buckets, int64_t max_distance);

// AttentionParams::position_bias for this shard's heads of the stack that context.spec describes, from `map`
// [num_position_buckets, num_heads].
Result<Tensor> load_position_bias(const LoadContext& context, const TensorRef& map);

}  // namespace cohort
