// The order in which a token's terms are added: a binary tree over all experts, of which most are absent. Internal to
// this folder; also for files that are compiled with CUDA.
#pragma once

#include <limits>

#if defined(__CUDACC__)
#define COHORT_HOST_DEVICE __host__ __device__
#else
#define COHORT_HOST_DEVICE
#endif

namespace cohort {

// Experts as leaves. Where their number is no power of two, its largest odd divisor is a chunk: a chunk's experts are
// the first leaves of a subtree of their own, so that ranks that split the experts evenly have whole subtrees.
struct ExpertTree {
  int chunk_size = 1;
  int log2_chunk_leaves = 0;

  explicit ExpertTree(int num_experts) : chunk_size(num_experts / (num_experts & -num_experts)) {
    while (1 << log2_chunk_leaves < chunk_size) ++log2_chunk_leaves;
  }

  COHORT_HOST_DEVICE int leaf(int expert) const {
    return (expert / chunk_size << log2_chunk_leaves) + expert % chunk_size;
  }

  // How far above the leaves the paths to two experts meet.
  COHORT_HOST_DEVICE int level(int expert, int other) const {
    int level = 0;
    for (int differing = leaf(expert) ^ leaf(other); differing != 0; differing >>= 1) ++level;
    return level;
  }
};

inline constexpr int kRootLevel = std::numeric_limits<int>::max();

// Sums of subtrees that wait for their right sibling.
template <typename Value, int kMaxTerms>
struct TreeSum {
  Value pending[kMaxTerms];
  int levels[kMaxTerms];
  int count = 0;

  // Adds the term of the next expert. `level`: where its path meets the following expert's; kRootLevel for the last,
  // after which pending[0] is the sum.
  COHORT_HOST_DEVICE void add(Value term, int level) {
    while (count > 0 && levels[count - 1] < level) term = pending[--count] + term;
    pending[count] = term;
    levels[count++] = level;
  }
};

#undef COHORT_HOST_DEVICE

}  // namespace cohort
