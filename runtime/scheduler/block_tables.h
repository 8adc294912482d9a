// BlockTables: which blocks of the cache the running sequences have, and which they can share because another has
// computed the same tokens.
//
// A block may be found by plans made after the one that computes it, before that has been executed: every rank executes
// plans in their order, so that what a later plan reads is there. README.md has the reasoning. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/cache/block_allocator.h"
#include "runtime/cache/block_key.h"
#include "runtime/scheduler/scheduled_request.h"

namespace cohort {

class BlockTables {
 public:
  // block_size: positions a block. Nothing is shared unless `shares_prefixes`.
  BlockTables(int64_t num_blocks, int64_t block_size, bool shares_prefixes);

  const BlockAllocator& allocator() const { return allocator_; }
  int64_t blocks_for(int64_t num_positions) const { return (num_positions + block_size_ - 1) / block_size_; }

  // Makes the keys of the prompt's full blocks.
  void add_prompt_keys(ScheduledRequest& request);
  // Blocks for all tokens that are known, a source's among them, those computed before shared: they count as computed.
  // The last token never does, so that there are logits to sample from, and it is in a block that the sequence has for
  // itself. False, and nothing changed, if that would leave less than `num_spare` blocks available.
  bool take(ScheduledRequest& request, int64_t num_spare);
  bool has_room(const ScheduledRequest& request, int64_t num_positions) const;
  // One block more. Requires one available.
  void grow(ScheduledRequest& request);
  // Lets others find the blocks that are full and computed, or are by a plan already made.
  void publish(ScheduledRequest& request);
  // Gives all blocks back: others may have them from the next plan on. What they hold may be found unless it is
  // `is_bad`.
  void release(ScheduledRequest& request, bool is_bad = false);

 private:
  void add_key(ScheduledRequest& request);

  const int64_t block_size_;
  const bool shares_prefixes_;
  BlockAllocator allocator_;
  BlockKeyMaker keys_;
  std::vector<int32_t> tokens_;  // of one block
  std::vector<int32_t> found_;   // blocks

  // Whom take() had no room for last. It has none again, and need not look, until blocks have come back, the next block
  // that it lacks can be found, or fewer are to be left: what others take meanwhile only leaves it less.
  struct Blocked {
    int64_t id = -1;
    int64_t num_spare = 0;
    std::optional<BlockKey> next_key;
  };
  Blocked blocked_;
};

}  // namespace cohort
