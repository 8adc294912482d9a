// The unigram language model: the model of a tokenizer.json of type "Unigram", that of T5.
//
// Of all ways to spell a piece by tokens, the one whose scores (log probabilities) have the greatest sum. Kudo,
// "Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates", section 3.2;
// found by Viterbi's algorithm over the bytes of the piece.
//
// Immutable; thread-safe with a Scratch per thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/byte_trie.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/vocab.h"
#include "runtime/tokenizer/word_cache.h"

namespace cohort {

struct UnigramOptions {
  std::optional<int32_t> unk_id;  // without one, unknown text is dropped
  bool byte_fallback = false;     // unknown text becomes "<0xXX>" tokens, if there are such for all of its bytes

  // As libsentencepiece: sums of scores are kept in single precision, so that ways to spell a long text tie, and
  // control tokens do not count for the score of unknown characters.
  bool is_sentencepiece = false;
};

class Unigram final : public TokenModel {
 public:
  // `scores` and `is_control` are by id ([vocab.size()]). Text never becomes a control token.
  Unigram(const Vocab& vocab, std::vector<double> scores, const std::vector<bool>& is_control,
          const UnigramOptions& options);

  // The best way to spell what comes before a byte.
  struct PathNode {
    double score;
    int32_t id;     // of its last token
    int64_t begin;  // where that token begins; -1: no way yet
  };

  struct Scratch final : TokenModel::Scratch {
    WordCache cache;
    std::vector<PathNode> path;
  };

  std::unique_ptr<TokenModel::Scratch> make_scratch() const override { return std::make_unique<Scratch>(); }
  void encode(std::string_view piece, TokenModel::Scratch& scratch, std::vector<int32_t>& ids) const override;

 private:
  void encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;
  void find_best_path(std::string_view piece, std::vector<PathNode>& path) const;
  void append_unknown_reversed(std::string_view text, std::vector<int32_t>& ids) const;

  std::vector<double> scores_;
  ByteTrie trie_;
  double unk_score_;  // of one unknown character
  int32_t unk_id_;    // -1: none
  bool is_sentencepiece_;
  std::vector<int32_t> byte_ids_;  // [256] by byte; empty where there is no byte fallback
};

}  // namespace cohort
