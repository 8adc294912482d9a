#include "runtime/cache/block_allocator.h"

#include <string>

#include "kernels/core/check.h"

namespace cohort {

BlockAllocator::BlockAllocator(int64_t num_blocks) : is_owned_(static_cast<size_t>(num_blocks)) {
  free_.reserve(static_cast<size_t>(num_blocks));
  for (int64_t i = num_blocks; i-- > 0;) free_.push_back(static_cast<int32_t>(i));
}

std::optional<std::vector<int32_t>> BlockAllocator::allocate(int64_t count) {
  COHORT_CHECK(count >= 0, std::to_string(count));
  if (count > num_free()) return std::nullopt;
  std::vector<int32_t> blocks(free_.end() - count, free_.end());
  free_.resize(free_.size() - static_cast<size_t>(count));
  for (const int32_t block : blocks) is_owned_[static_cast<size_t>(block)] = true;
  return blocks;
}

void BlockAllocator::release(std::span<const int32_t> blocks) {
  for (const int32_t block : blocks) {
    COHORT_CHECK(block >= 0 && block < num_blocks() && is_owned_[static_cast<size_t>(block)],
                 "block " + std::to_string(block) + " is not owned");
    is_owned_[static_cast<size_t>(block)] = false;
    free_.push_back(block);
  }
}

}  // namespace cohort
