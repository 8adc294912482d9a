// Text to token ids and back, for the tokenizers that Hugging Face checkpoints carry: byte-pair encoding, WordPiece
// (BERT) and Unigram (T5).
//
// A Tokenizer is immutable once loaded: every const method may be called from many threads at once. Text is UTF-8.
// Input that is not valid UTF-8 is first mapped as Python's bytes.decode(errors="replace") maps it: each maximal
// ill-formed subpart becomes one U+FFFD. The ids are those of the Hugging Face `tokenizers` library (tokenizer.json,
// vocab.txt, merges.txt) or of the `sentencepiece` library (tokenizer.model, spiece.model).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/text_range.h"

namespace cohort {

class DecodeChain;

class Tokenizer {
 public:
  struct EncodeOptions {
    // Run the post-processor: beginning- and end-of-text tokens as the checkpoint wants them.
    bool add_special_tokens = true;
    // Text that spells a special token becomes that token. Off for text that comes from users, who
    // could otherwise write control tokens into a prompt. Added tokens that are not special are
    // always recognised.
    bool parse_special = false;
    // Ranges of the text, in order, that are plain all the same: a special token with a byte of one of
    // them is text. For prompts in which what users wrote stands among control tokens. They require
    // valid UTF-8.
    std::span<const TextRange> plain = {};
  };

  // Ids, and for each the segment of the input that it belongs to: the `token_type_ids` of BERT.
  struct Encoding {
    std::vector<int32_t> ids;
    std::vector<int32_t> type_ids;  // [ids.size()]
  };

  virtual ~Tokenizer() = default;

  // Reads from a Hugging Face model directory the first of these that it has: tokenizer.json; tokenizer.model or
  // spiece.model; vocab.txt (BERT); vocab.json with merges.txt (GPT-2, OPT, RoBERTa). And tokenizer_config.json where
  // there is one. Errors: kNotFound when none is there; kDataLoss or kInvalidArgument for a malformed file and
  // kUnimplemented for a component or a tokenizer class that is not known, each naming the file and the key.
  static Result<std::unique_ptr<Tokenizer>> load(const std::filesystem::path& model_dir);

  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const = 0;
  std::vector<int32_t> encode(std::string_view text) const { return encode(text, EncodeOptions()); }

  // Puts the special tokens of the checkpoint around the ids of a text, or of a pair of texts (a cross-encoder's query
  // and passage), each encoded with add_special_tokens off. So a caller whose model takes a limited number of ids cuts
  // the texts, not their special tokens: assemble({}, {}).ids.size() of the limit are not for text.
  // assemble(encode(text, {.add_special_tokens = false})).ids equals encode(text).
  Encoding assemble(std::span<const int32_t> first) const { return add_special_tokens(first, nullptr); }
  Encoding assemble(std::span<const int32_t> first, std::span<const int32_t> second) const {
    return add_special_tokens(first, &second);
  }

  // A pair as the model is to read it, uncut.
  Encoding encode_pair(std::string_view first, std::string_view second) const;

  // The text of `ids`, always valid UTF-8. Ids that name no token are left out, as are special
  // tokens when `skip_special_tokens` is set. StreamDecoder (stream_decoder.h) does the same id by
  // id.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;

  // Highest id + 1; a model's embedding may have more rows, as padding.
  virtual int32_t vocab_size() const = 0;

  // The id of a token by its spelling in the vocabulary ("Ġthe", "▁the", "<|eot_id|>").
  virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;

  // The inverse of token_to_id(); empty for an id that names no token.
  virtual std::string id_to_token(int32_t id) const = 0;

  // Whether `id` is a control token, which decode() can skip and encode() makes of text only on
  // parse_special.
  virtual bool is_special(int32_t id) const = 0;

  // bos_token, eos_token and mask_token of tokenizer_config.json; empty where that file names none.
  std::optional<int32_t> bos_id() const { return bos_id_; }
  std::optional<int32_t> eos_id() const { return eos_id_; }
  std::optional<int32_t> mask_id() const { return mask_id_; }

 protected:
  friend class StreamDecoder;

  // assemble(); `second` is null where there is one text only.
  virtual Encoding add_special_tokens(std::span<const int32_t> first, const std::span<const int32_t>* second) const = 0;

  // What decodes one stream of tokens, id by id. It borrows from this tokenizer.
  virtual std::unique_ptr<DecodeChain> open_stream() const = 0;

  // The spelling of `id` as decode() wants it, or nothing where decode() leaves the id out.
  virtual std::optional<std::string_view> decodable_token(int32_t id, bool skip_special_tokens) const = 0;

  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
  std::optional<int32_t> mask_id_;
};

}  // namespace cohort
