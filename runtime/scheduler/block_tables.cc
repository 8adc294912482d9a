#include "runtime/scheduler/block_tables.h"

#include <algorithm>

namespace cohort {

BlockTables::BlockTables(int64_t num_blocks, int64_t block_size, bool shares_prefixes)
    : block_size_(block_size), shares_prefixes_(shares_prefixes), allocator_(num_blocks) {}

void BlockTables::add_key(ScheduledRequest& request) {
  const int64_t begin = static_cast<int64_t>(request.keys.size()) * block_size_;
  tokens_.clear();
  for (int64_t i = begin; i < begin + block_size_; ++i) tokens_.push_back(request.sequence.token(i));
  request.last_key = keys_.extend(request.last_key, tokens_);
  request.keys.push_back(request.last_key);
}

void BlockTables::add_prompt_keys(ScheduledRequest& request) {
  if (!shares_prefixes_) return;
  request.last_key = keys_.root(request.request.cache_salt);
  const int64_t num_full = request.sequence.prompt_length() / block_size_;
  request.keys.reserve(static_cast<size_t>(num_full));
  for (int64_t i = 0; i < num_full; ++i) add_key(request);
}

bool BlockTables::take(ScheduledRequest& request, int64_t num_spare) {
  if (blocked_.id == request.id() && num_spare >= blocked_.num_spare) return false;
  Sequence& sequence = request.sequence;
  const int64_t num_blocks = blocks_for(sequence.length());
  const int64_t num_source_blocks = blocks_for(sequence.source_length());
  const auto num_keys = static_cast<int64_t>(request.keys.size());
  const int64_t max_found = std::min(num_keys, (sequence.length() - 1) / block_size_);
  found_.clear();
  int64_t num_taken = num_blocks + num_source_blocks;  // of those available
  for (int64_t i = 0; i < max_found; ++i) {
    const int32_t block = allocator_.find(request.keys[static_cast<size_t>(i)]);
    if (block == BlockAllocator::kNone) break;
    found_.push_back(block);
    if (!allocator_.is_cached(block)) --num_taken;
  }
  if (allocator_.num_available() - num_taken < num_spare) {
    blocked_ = {.id = request.id(), .num_spare = num_spare, .next_key = {}};
    if (static_cast<int64_t>(found_.size()) < max_found) blocked_.next_key = request.keys[found_.size()];
    return false;
  }
  for (const int32_t block : found_) allocator_.share(block);
  sequence.block_table = found_;
  request.num_keyed_blocks = static_cast<int64_t>(found_.size());
  sequence.num_computed = request.num_keyed_blocks * block_size_;
  while (static_cast<int64_t>(sequence.block_table.size()) < num_blocks) grow(request);
  for (int64_t i = 0; i < num_source_blocks; ++i) sequence.source_table.push_back(allocator_.allocate());
  return true;
}

bool BlockTables::has_room(const ScheduledRequest& request, int64_t num_positions) const {
  return num_positions <= static_cast<int64_t>(request.sequence.block_table.size()) * block_size_;
}

void BlockTables::grow(ScheduledRequest& request) { request.sequence.block_table.push_back(allocator_.allocate()); }

void BlockTables::publish(ScheduledRequest& request) {
  if (!shares_prefixes_) return;
  const Sequence& sequence = request.sequence;
  const int64_t num_full = std::min(sequence.num_computed, sequence.length()) / block_size_;
  for (int64_t& i = request.num_keyed_blocks; i < num_full; ++i) {
    const auto place = static_cast<size_t>(i);
    if (place == request.keys.size()) add_key(request);
    allocator_.publish(sequence.block_table[place], request.keys[place]);
    if (blocked_.next_key == request.keys[place]) blocked_ = {};
  }
}

void BlockTables::release(ScheduledRequest& request, bool is_bad) {
  blocked_ = {};
  Sequence& sequence = request.sequence;
  if (is_bad) {
    for (const int32_t block : sequence.block_table) allocator_.forget(block);
  }
  allocator_.release(sequence.block_table);
  sequence.block_table.clear();
  allocator_.release(sequence.source_table);
  sequence.source_table.clear();
  sequence.num_computed = 0;
  request.num_keyed_blocks = 0;
}

}  // namespace cohort
