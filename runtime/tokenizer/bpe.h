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

#include "runtime/tokenizer/merge_table.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/vocab.h"
#include "runtime/tokenizer/word_cache.h"

namespace cohort {

struct BpeOptions {
  std::optional<int32_t> unk_id;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  bool takes_bytes = false;  // pieces are raw bytes; the vocabulary spells them in GPT-2's alphabet
};

class Bpe final : public TokenModel {
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

  struct Scratch final : TokenModel::Scratch {
    WordCache cache;
    std::vector<int32_t> symbols;
    std::vector<uint32_t> ranks;
    std::vector<Symbol> links;
    std::vector<uint64_t> queue;
    std::string spelling;
  };

  std::unique_ptr<TokenModel::Scratch> make_scratch() const override { return std::make_unique<Scratch>(); }
  void encode(std::string_view piece, TokenModel::Scratch& scratch, std::vector<int32_t>& ids) const override;

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
