// ParallelLayout: a rank's place among all ranks of a job.
//
// rank = (replica * pipeline_size + stage) * tensor_size + shard: the shards of a stage, which talk most, are
// neighbours, and launchers put neighbours on one host. An immutable value that is passed down.
#pragma once

#include <cstdint>

#include "kernels/core/status.h"

namespace cohort {

struct ParallelSizes {
  int tensor = 1;    // shards that split each layer
  int pipeline = 1;  // stages, runs of layers
  int replicas = 1;  // copies of the model

  int64_t num_ranks() const { return int64_t{tensor} * pipeline * replicas; }
  bool operator==(const ParallelSizes&) const = default;
};

// INVALID_ARGUMENT unless the sizes make exactly `num_ranks`; says which sizes or which -np would.
Status check_num_ranks(const ParallelSizes& sizes, int num_ranks);

class ParallelLayout {
 public:
  ParallelLayout() = default;  // one rank
  // Requires 0 <= rank < sizes.num_ranks().
  ParallelLayout(const ParallelSizes& sizes, int rank);

  const ParallelSizes& sizes() const { return sizes_; }
  int rank() const { return rank_; }
  int replica() const { return rank_ / (sizes_.tensor * sizes_.pipeline); }
  int stage() const { return rank_ / sizes_.tensor % sizes_.pipeline; }
  int shard() const { return rank_ % sizes_.tensor; }

  bool is_first_stage() const { return stage() == 0; }
  bool is_last_stage() const { return stage() == sizes_.pipeline - 1; }
  // The leader of a replica schedules: shard 0 of stage 0.
  bool is_leader() const { return is_first_stage() && shard() == 0; }
  // The rank of a replica that samples: shard 0 of the last stage.
  bool is_sampler() const { return is_last_stage() && shard() == 0; }

 private:
  ParallelSizes sizes_;
  int rank_ = 0;
};

}  // namespace cohort
