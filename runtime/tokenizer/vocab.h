// A vocabulary, by spelling and by id.
//
// Built once, then immutable and thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/tokenizer/word_cache.h"

namespace cohort {

class Vocab {
 public:
  // Ids run from 0 to kMaxId; larger ones are a mistake in the file.
  static constexpr int64_t kMaxId = (int64_t{1} << 21) - 1;

  // Nothing, or what is wrong: the id is out of range or taken, or the token is there already.
  std::optional<std::string> add(std::string_view token, int64_t id);

  std::optional<int32_t> find(std::string_view token) const;
  std::string_view spelling(int32_t id) const;  // empty for an id that names no token
  bool contains(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < by_id_.size() && by_id_[static_cast<size_t>(id)];
  }
  int32_t size() const { return static_cast<int32_t>(by_id_.size()); }  // highest id + 1

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return hash_bytes(text); }
  };

  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> by_id_;  // keys of ids_; null where the vocabulary has a gap
};

}  // namespace cohort
