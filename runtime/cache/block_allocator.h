// BlockAllocator: who owns which block of the paged cache. Host code; one thread.
//
// Invariant: every block is free or owned, and num_free() + num_owned() == num_blocks().
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cohort {

class BlockAllocator {
 public:
  explicit BlockAllocator(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(is_owned_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_owned() const { return num_blocks() - num_free(); }

  // `count` blocks, or nothing when there are fewer free; never some of them.
  std::optional<std::vector<int32_t>> allocate(int64_t count);
  // Gives blocks back. Throws CheckError for a block that is not owned.
  void release(std::span<const int32_t> blocks);

 private:
  std::vector<int32_t> free_;  // used from the back
  std::vector<bool> is_owned_;
};

}  // namespace cohort
