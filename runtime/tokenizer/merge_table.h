// The merges of a BPE vocabulary: (left id, right id) -> (rank, id of the joined token). A flat
// hash table, since encoding a new word asks it for every pair of neighbours.
//
// Built once, then immutable and thread-safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cohort {

struct Merge {
  uint32_t rank;  // the lowest is done first
  int32_t new_id;
};

class MergeTable {
 public:
  // Requires at most `num_merges` calls of insert().
  explicit MergeTable(size_t num_merges = 0) : slots_(std::bit_ceil(num_merges * 2 + 2)), mask_(slots_.size() - 1) {}

  // A later merge of the same pair replaces the one before. Requires ids that are not negative.
  void insert(int32_t left, int32_t right, Merge merge) {
    size_t i = slot_of(left, right);
    slots_[i] = {left, right, merge};
  }

  // Nothing where the pair does not merge; an id of -1 merges with nothing.
  const Merge* find(int32_t left, int32_t right) const {
    const Slot& slot = slots_[slot_of(left, right)];
    return slot.left == left && left >= 0 ? &slot.merge : nullptr;
  }

 private:
  struct Slot {
    int32_t left = -1;  // -1: empty
    int32_t right = -1;
    Merge merge{};
  };

  // Where the pair is, or the empty slot where it would be.
  size_t slot_of(int32_t left, int32_t right) const {
    const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
    size_t i = (key * 0x9E3779B97F4A7C15u >> 20) & mask_;
    while (slots_[i].left != -1 && (slots_[i].left != left || slots_[i].right != right)) i = (i + 1) & mask_;
    return i;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace cohort
