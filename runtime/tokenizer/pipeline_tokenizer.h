// The tokenizer that a tokenizer.json describes: added tokens, normalizer, pre-tokenizer,
// model, post-processor and decoder, in the order in which Hugging Face `tokenizers` runs them.
//
// Immutable; thread-safe. Encoding takes its working memory, and a cache of recent words, from a
// pool that grows to the number of threads that encode at once.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/post_processor.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/vocab.h"

namespace cohort {

// What the file says, one member per key.
struct PipelineSpec {
  std::vector<AddedToken> added_tokens;
  std::unique_ptr<Normalizer> normalizer;  // null: none
  PreTokenizerSpec pre_tokenizer;          // a null pre_tokenizer: none
  std::unique_ptr<Vocab> vocab;
  std::unique_ptr<TokenModel> model;  // borrows vocab
  PostProcessor post_processor;
  TokenDecoder decoder;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(PipelineSpec spec);

  void set_bos_id(std::optional<int32_t> id) { bos_id_ = id; }
  void set_eos_id(std::optional<int32_t> id) { eos_id_ = id; }
  void set_mask_id(std::optional<int32_t> id) { mask_id_ = id; }

  using Tokenizer::encode;
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  int32_t vocab_size() const override { return vocab_size_; }
  std::optional<int32_t> token_to_id(std::string_view token) const override;
  std::string id_to_token(int32_t id) const override { return std::string(spelling(id)); }
  bool is_special(int32_t id) const override;

 private:
  struct Scratch {
    RegexScratch regex;
    std::unique_ptr<TokenModel::Scratch> model;
    std::vector<TextPart> raw_parts;
    std::vector<TextPart> parts;
    PieceList list;
  };
  class ScratchLease;

  Encoding add_special_tokens(std::span<const int32_t> first, const std::span<const int32_t>* second) const override;
  std::unique_ptr<DecodeChain> open_stream() const override;
  std::optional<std::string_view> decodable_token(int32_t id, bool skip_special_tokens) const override;

  std::string_view spelling(int32_t id) const;
  std::vector<std::string> normalize_added_tokens() const;
  AddedTokenMatcher make_matcher(bool normalized) const;
  bool plain_text_has_no_part(std::string_view text, const TextPart& part, std::span<const TextRange> plain,
                              Scratch& scratch) const;
  std::vector<int32_t> normalized_special_ids(std::string text, Scratch& scratch) const;
  void encode_raw(std::string_view text, bool is_first, bool parse_special, Scratch& scratch,
                  std::vector<int32_t>& ids) const;
  void encode_normalized(bool is_first, Scratch& scratch, std::vector<int32_t>& ids) const;

  PipelineSpec spec_;
  std::unordered_map<int32_t, size_t> added_by_id_;  // index into spec_.added_tokens
  std::unordered_map<std::string_view, int32_t> added_by_content_;
  std::vector<std::string> added_texts_;  // [added_tokens] what each looks like in text and decodes from
  int32_t vocab_size_ = 0;
  AddedTokenMatcher raw_matcher_;         // tokens looked for in the text as given
  AddedTokenMatcher normalized_matcher_;  // tokens looked for in normalized text

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> free_scratch_;  // guarded by mutex_
};

}  // namespace cohort
