// BlockAllocator: who owns which block of the paged cache, and what the blocks hold that nobody owns. Host code; one
// thread.
//
// Invariant: every block is owned, by one sequence or several, or cached, which is free to be taken but holds what its
// key says, or free; num_owned() + num_cached() + num_free() == num_blocks(). A key stands for one block at most, and
// only owned and cached blocks have keys.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/cache/block_key.h"

namespace cohort {

class BlockAllocator {
 public:
  static constexpr int32_t kNone = -1;

  explicit BlockAllocator(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_cached() const { return num_cached_; }
  int64_t num_owned() const { return num_owned_; }
  int64_t num_available() const { return num_free() + num_cached(); }

  // A block for one owner: a free one, else the cached one that was released first, whose key is forgotten. Throws
  // CheckError if there is none available.
  int32_t allocate();
  // The block of the key, or kNone. It stays as it is: see share().
  int32_t find(const BlockKey& key) const;
  bool is_cached(int32_t block) const { return at(block).num_owners == 0 && at(block).has_key; }
  int32_t num_owners(int32_t block) const { return at(block).num_owners; }
  // One more owner for a block that is owned or cached.
  void share(int32_t block);
  // From now on find() gives this block, which is owned and written by nobody any more, for the key; unless another has
  // the key already. Requires that the block has none.
  void publish(int32_t block, const BlockKey& key);
  // What the owned block holds is not to be found any more.
  void forget(int32_t block);
  // Takes one owner off each. One that is left without becomes cached if it has a key, else free. The last of `blocks`
  // is taken again first: nobody finds a block without those before it.
  void release(std::span<const int32_t> blocks);

  // Counts everything anew. Throws CheckError if the invariant does not hold.
  void check_invariants() const;

 private:
  struct Block {
    int32_t num_owners = 0;
    bool has_key = false;
    BlockKey key;
    // Neighbours among the cached ones, in order of release; kNone at the ends.
    int32_t older = kNone;
    int32_t newer = kNone;
  };

  const Block& at(int32_t block) const;
  Block& at(int32_t block) { return const_cast<Block&>(std::as_const(*this).at(block)); }
  void link_newest(int32_t block);
  void unlink(int32_t block);

  std::vector<Block> blocks_;
  std::vector<int32_t> free_;  // used from the back
  int32_t oldest_ = kNone;     // of the cached ones
  int32_t newest_ = kNone;
  int64_t num_cached_ = 0;
  int64_t num_owned_ = 0;
  std::unordered_map<BlockKey, int32_t, BlockKeyHash> by_key_;
};

}  // namespace cohort
