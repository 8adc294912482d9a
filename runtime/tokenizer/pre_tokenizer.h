// Pre-tokenizers of a tokenizer.json: they split normalized text into the pieces that the model
// encodes one by one.
//
// Immutable; thread-safe with a RegexScratch per thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/regex.h"

namespace cohort {

// A part of a PieceList's text that is not empty.
struct Piece {
  size_t begin;
  size_t end;
  bool is_first;  // it begins where the text given to encode() began
};

struct PieceList {
  std::string text;  // valid UTF-8
  std::vector<Piece> pieces;

  std::string_view view(const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(PieceList& list, RegexScratch& scratch) const = 0;
};

struct PreTokenizerSpec {
  std::unique_ptr<PreTokenizer> pre_tokenizer;

  // The last step is a ByteLevel that leaves the bytes as they are, for a model that takes bytes
  // (Bpe). Otherwise ByteLevel writes each byte as a character of GPT-2's alphabet.
  bool yields_bytes = false;
};

// Reads the value of the key "pre_tokenizer". `model_takes_bytes`: yields_bytes may be chosen.
Result<PreTokenizerSpec> parse_pre_tokenizer(const JsonNode& node, bool model_takes_bytes);

enum class PrependScheme { kNever, kFirst, kAlways };

// "prepend_scheme" of a Metaspace, or what the older "add_prefix_space" says of it. Shared with the
// decoder.
Result<PrependScheme> parse_prepend_scheme(const JsonNode& node);

}  // namespace cohort
