// WordPiece: the model of a tokenizer.json of type "WordPiece", that of BERT.
//
// A word becomes the longest token that it begins with, then the longest of those with the prefix ("##") that continue
// it, and so on; a word for which that does not work out is unknown as a whole. Devlin et al., "BERT: Pre-training of
// Deep Bidirectional Transformers for Language Understanding" (tokenization.py of the released code).
//
// Immutable; thread-safe with a Scratch per thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/byte_trie.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/vocab.h"
#include "runtime/tokenizer/word_cache.h"

namespace cohort {

struct WordPieceOptions {
  int32_t unk_id = 0;
  std::string continuing_subword_prefix = "##";
  int64_t max_input_chars_per_word = 100;  // longer words are unknown
};

class WordPiece final : public TokenModel {
 public:
  // Text never becomes a token for which `is_control` is set ([vocab.size()]).
  WordPiece(const Vocab& vocab, const std::vector<bool>& is_control, const WordPieceOptions& options);

  struct Scratch final : TokenModel::Scratch {
    WordCache cache;
  };

  std::unique_ptr<TokenModel::Scratch> make_scratch() const override { return std::make_unique<Scratch>(); }
  void encode(std::string_view piece, TokenModel::Scratch& scratch, std::vector<int32_t>& ids) const override;

 private:
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  bool is_too_long(std::string_view word) const;

  int32_t unk_id_;
  int64_t max_chars_;
  ByteTrie first_;       // tokens at the front of a word
  ByteTrie continuing_;  // tokens behind another, without their prefix
};

}  // namespace cohort
