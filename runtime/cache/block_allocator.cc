#include "runtime/cache/block_allocator.h"

#include <string>

#include "kernels/core/check.h"

namespace cohort {

BlockAllocator::BlockAllocator(int64_t num_blocks) : blocks_(static_cast<size_t>(num_blocks)) {
  free_.reserve(static_cast<size_t>(num_blocks));
  for (int64_t i = num_blocks; i-- > 0;) free_.push_back(static_cast<int32_t>(i));
}

const BlockAllocator::Block& BlockAllocator::at(int32_t block) const {
  COHORT_CHECK(block >= 0 && block < num_blocks(), "block " + std::to_string(block));
  return blocks_[static_cast<size_t>(block)];
}

void BlockAllocator::link_newest(int32_t block) {
  at(block).older = newest_;
  at(block).newer = kNone;
  (newest_ == kNone ? oldest_ : at(newest_).newer) = block;
  newest_ = block;
  ++num_cached_;
}

void BlockAllocator::unlink(int32_t block) {
  const Block& b = at(block);
  (b.older == kNone ? oldest_ : at(b.older).newer) = b.newer;
  (b.newer == kNone ? newest_ : at(b.newer).older) = b.older;
  --num_cached_;
}

int32_t BlockAllocator::allocate() {
  COHORT_CHECK(num_available() > 0, "all " + std::to_string(num_blocks()) + " blocks are owned");
  int32_t block = oldest_;
  if (free_.empty()) {
    unlink(block);
    by_key_.erase(at(block).key);
    at(block).has_key = false;
  } else {
    block = free_.back();
    free_.pop_back();
  }
  at(block).num_owners = 1;
  ++num_owned_;
  return block;
}

int32_t BlockAllocator::find(const BlockKey& key) const {
  const auto place = by_key_.find(key);
  return place == by_key_.end() ? kNone : place->second;
}

void BlockAllocator::share(int32_t block) {
  Block& b = at(block);
  if (b.num_owners == 0) {
    COHORT_CHECK(b.has_key, "block " + std::to_string(block) + " is free");
    unlink(block);
    ++num_owned_;
  }
  ++b.num_owners;
}

void BlockAllocator::publish(int32_t block, const BlockKey& key) {
  Block& b = at(block);
  COHORT_CHECK(b.num_owners > 0 && !b.has_key, "block " + std::to_string(block));
  if (!by_key_.emplace(key, block).second) return;
  b.has_key = true;
  b.key = key;
}

void BlockAllocator::forget(int32_t block) {
  Block& b = at(block);
  COHORT_CHECK(b.num_owners > 0, "block " + std::to_string(block) + " is not owned");
  if (!b.has_key) return;
  by_key_.erase(b.key);
  b.has_key = false;
}

void BlockAllocator::release(std::span<const int32_t> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    Block& b = at(*block);
    COHORT_CHECK(b.num_owners > 0, "block " + std::to_string(*block) + " is not owned");
    if (--b.num_owners > 0) continue;
    --num_owned_;
    if (b.has_key) {
      link_newest(*block);
    } else {
      free_.push_back(*block);
    }
  }
}

void BlockAllocator::check_invariants() const {
  enum class Place : char { kUnknown, kFree, kCached };
  std::vector<Place> places(blocks_.size(), Place::kUnknown);
  const auto take = [&](int32_t block, Place place) {
    COHORT_CHECK(at(block).num_owners == 0 && at(block).has_key == (place == Place::kCached) &&
                     places[static_cast<size_t>(block)] == Place::kUnknown,
                 "block " + std::to_string(block) + " is out of place");
    places[static_cast<size_t>(block)] = place;
  };
  for (const int32_t block : free_) take(block, Place::kFree);
  int64_t num_cached = 0;
  int32_t before = kNone;
  for (int32_t block = oldest_; block != kNone; before = std::exchange(block, at(block).newer), ++num_cached) {
    COHORT_CHECK(at(block).older == before, "block " + std::to_string(block) + " is not linked both ways");
    take(block, Place::kCached);
  }
  COHORT_CHECK(newest_ == before && num_cached == num_cached_, std::to_string(num_cached) + " cached");
  int64_t num_owned = 0;
  size_t num_keys = 0;
  for (int32_t block = 0; block < num_blocks(); ++block) {
    const Block& b = at(block);
    COHORT_CHECK((b.num_owners > 0) == (places[static_cast<size_t>(block)] == Place::kUnknown),
                 "block " + std::to_string(block) + " is lost");
    COHORT_CHECK(!b.has_key || find(b.key) == block, "the key of block " + std::to_string(block));
    num_owned += b.num_owners > 0 ? 1 : 0;
    num_keys += b.has_key ? 1 : 0;
  }
  COHORT_CHECK(num_owned == num_owned_ && num_owned + num_cached_ + num_free() == num_blocks(),
               std::to_string(num_owned) + " owned");
  COHORT_CHECK(num_keys == by_key_.size(), std::to_string(num_keys) + " keys");
}

}  // namespace cohort
