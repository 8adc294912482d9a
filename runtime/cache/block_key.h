// BlockKey: what a full block of the cache is known by: its tokens and all before them, in one keyed digest. Two blocks
// with one key hold the same keys and values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace cohort {

using BlockKey = std::array<uint64_t, 4>;

struct BlockKeyHash {
  size_t operator()(const BlockKey& key) const { return static_cast<size_t>(key[0]); }
};

// Makes keys by HMAC-SHA-256 under a secret of 32 random bytes that never leaves this object: nobody can look for two
// prompts of one key, and keys mean nothing outside of the process. One thread.
class BlockKeyMaker {
 public:
  BlockKeyMaker();
  ~BlockKeyMaker();
  BlockKeyMaker(const BlockKeyMaker&) = delete;
  BlockKeyMaker& operator=(const BlockKeyMaker&) = delete;

  // What stands before the first block: requests of different salts share no key.
  BlockKey root(std::string_view salt);
  // Of a block of `tokens` behind that of `parent`.
  BlockKey extend(const BlockKey& parent, std::span<const int32_t> tokens);

 private:
  struct Mac;
  std::unique_ptr<Mac> mac_;
};

}  // namespace cohort
