// A bounded cache of what short pieces of text encode to: most pieces of natural text recur.
//
// Direct-mapped: a piece evicts whatever its hash collides with, so that memory is fixed (about 1
// MB) and nothing is allocated on use. Not thread-safe; each thread uses its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace cohort {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 62;
  static constexpr size_t kMaxIds = 15;

  WordCache() : slots_(kNumSlots) {}

  // Appends the ids of `piece` if they are known. Requires 0 < piece.size() <= kMaxBytes.
  bool lookup(std::string_view piece, uint64_t hash, std::vector<int32_t>& ids) const {
    const Slot& slot = slots_[hash % kNumSlots];
    if (slot.num_bytes != piece.size() || std::memcmp(slot.bytes, piece.data(), piece.size()) != 0) return false;
    ids.insert(ids.end(), slot.ids, slot.ids + slot.num_ids);
    return true;
  }

  // Keeps `ids` for `piece` unless there are too many. Requires 0 < piece.size() <= kMaxBytes.
  void insert(std::string_view piece, uint64_t hash, std::span<const int32_t> ids);

 private:
  static constexpr size_t kNumSlots = 8192;

  struct Slot {
    uint8_t num_bytes = 0;  // 0: empty
    uint8_t num_ids = 0;
    char bytes[kMaxBytes];
    int32_t ids[kMaxIds];
  };

  std::vector<Slot> slots_;
};

// A hash of short texts for tables in memory; quick rather than strong.
inline uint64_t hash_bytes(std::string_view text) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15u;
  uint64_t hash = text.size() * kMultiplier;
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    mix(word);
  }
  uint64_t tail = 0;
  for (size_t shift = 0; i < text.size(); ++i, shift += 8) {
    tail |= uint64_t{static_cast<unsigned char>(text[i])} << shift;
  }
  mix(tail);
  return hash ^ hash >> 29;
}

}  // namespace cohort
