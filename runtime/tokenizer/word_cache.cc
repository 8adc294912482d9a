#include "runtime/tokenizer/word_cache.h"

#include <algorithm>

namespace cohort {

void WordCache::insert(std::string_view piece, uint64_t hash, std::span<const int32_t> ids) {
  if (ids.size() > kMaxIds) return;
  Slot& slot = slots_[hash % kNumSlots];
  slot.num_bytes = static_cast<uint8_t>(piece.size());
  slot.num_ids = static_cast<uint8_t>(ids.size());
  std::copy(piece.begin(), piece.end(), slot.bytes);
  std::copy(ids.begin(), ids.end(), slot.ids);
}

}  // namespace cohort
