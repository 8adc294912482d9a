#include "parallel/layout/parallel_layout.h"

#include <string>

#include "kernels/core/check.h"

namespace cohort {

Status check_num_ranks(const ParallelSizes& sizes, int num_ranks) {
  if (sizes.num_ranks() == num_ranks) return ok_status();
  return invalid_argument("tensor_parallel_size " + std::to_string(sizes.tensor) + " x pipeline_parallel_size " +
                          std::to_string(sizes.pipeline) + " x replicas " + std::to_string(sizes.replicas) + " needs " +
                          std::to_string(sizes.num_ranks()) + " ranks, but the launcher started " +
                          std::to_string(num_ranks) + ": expected mpirun -np " + std::to_string(sizes.num_ranks()) +
                          " (or srun -n), or sizes whose product is " + std::to_string(num_ranks));
}

ParallelLayout::ParallelLayout(const ParallelSizes& sizes, int rank) : sizes_(sizes), rank_(rank) {
  COHORT_CHECK(rank >= 0 && rank < sizes.num_ranks(), "rank " + std::to_string(rank));
}

}  // namespace cohort
