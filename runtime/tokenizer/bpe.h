// Byte-pair encoding: the model of a tokenizer.json of type "BPE".
//
// A piece of text becomes symbols (its characters or bytes), and the pair of neighbours whose merge
// ranks lowest, the leftmost of equals, is joined until no pair merges. Sennrich et al., "Neural
// Machine Translation of Rare Words with Subword Units", section 3.2.
//
// Immutable; thread-safe with a Scratch per thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/merge_table.h"
#include "runtime/tokenizer/word_cache.h"

namespace cohort {

// A vocabulary, by spelling and by id.
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

struct BpeOptions {
  std::optional<int32_t> unk_id;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  bool takes_bytes = false;  // pieces are raw bytes; the vocabulary spells them in GPT-2's alphabet
};

class Bpe {
 public:
  // A merge by the ids of its two tokens and of the token that it yields. The lowest rank is done
  // first, of equal ones the leftmost.
  struct MergeRule {
    int32_t left;
    int32_t right;
    int32_t joined;
    uint32_t rank;
  };

  // `vocab` is borrowed and must outlive the model.
  Bpe(const Vocab& vocab, const std::vector<MergeRule>& merges, BpeOptions options);

  struct Symbol {
    int32_t id;
    int32_t prev;  // index of the neighbour, -1 at the ends
    int32_t next;
    int32_t is_merged;  // it is now a part of a symbol to its left
  };

  // The memory that encode() needs.
  struct Scratch {
    WordCache cache;
    std::vector<int32_t> symbols;
    std::vector<uint32_t> ranks;
    std::vector<Symbol> links;
    std::vector<uint64_t> queue;
    std::string spelling;
  };

  // Appends the ids of `piece`, which is not empty.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  void encode_whole(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;
  void encode_cached(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;
  void encode_in_parts(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;
  std::optional<int32_t> find_whole(std::string_view piece, Scratch& scratch) const;

  void load_symbols(std::string_view piece, Scratch& scratch) const;
  bool append_byte_fallback(std::string_view text, std::vector<int32_t>& symbols) const;
  void merge_short(Scratch& scratch, std::vector<int32_t>& ids) const;
  void merge_long(Scratch& scratch, std::vector<int32_t>& ids) const;

  int32_t char_symbol(char32_t c) const;
  int32_t next_symbol(std::string_view piece, size_t& pos) const;
  void find_joints(const std::vector<MergeRule>& merges);
  bool may_join(int32_t left, int32_t right) const;

  const Vocab& vocab_;
  BpeOptions options_;
  MergeTable merges_;
  std::array<int32_t, 256> byte_symbols_{};  // takes_bytes: the token of a byte; else the token "<0xXX>"; or -1
  std::vector<int32_t> char_symbols_;        // [highest character below 0x10000 + 1] token of one character, or -1
  std::unordered_map<char32_t, int32_t> rare_char_symbols_;  // the same from 0x10000 on
  std::vector<bool> joints_;                                 // see find_joints(); empty when pieces cannot be cut
};

}  // namespace cohort
