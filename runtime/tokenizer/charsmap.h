// The character map of a SentencePiece model ("precompiled_charsmap"): which short texts become which, as the
// normalizer "Precompiled" of a tokenizer.json applies it.
//
// The map is a double-array trie of the texts to replace, then their replacements, each ended by a zero byte; see
// normalizer.cc of SentencePiece and darts.h for the format.
//
// Immutable; thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

class Charsmap {
 public:
  // Reads a map, or one written in base64. An error says what is wrong with it.
  static Result<Charsmap> parse(std::string_view bytes);
  static Result<Charsmap> parse_base64(std::string_view text);

  // Appends the text with replacements to `out`. Requires valid UTF-8, and keeps it. The unit of replacement is that of
  // Hugging Face `tokenizers`: a grapheme cluster of at most 5 bytes by the shortest entry that it begins with, or else
  // each character.
  void append(std::string_view text, std::string& out) const;

  // What SentencePiece itself replaces at the front of a text: the longest entry, of whole characters. `num_bytes` is 0
  // where there is none.
  struct Replacement {
    size_t num_bytes = 0;
    std::string_view text;  // valid as long as the map
  };
  Replacement longest(std::string_view text) const;

  // Whether `text` is ASCII of which nothing is replaced.
  bool is_trivial(std::string_view text) const;

 private:
  Charsmap(std::vector<uint32_t> units, std::string replacements);

  template <typename Visit>
  void visit_entries(std::string_view text, Visit visit) const;
  std::optional<std::string_view> shortest(std::string_view text) const;
  std::optional<std::string_view> replacement_at(size_t offset) const;
  void append_characters(std::string_view text, std::string& out) const;

  std::vector<uint32_t> units_;      // the trie
  std::string replacements_;         // valid UTF-8
  std::array<bool, 128> is_stable_;  // ASCII characters that stay
};

}  // namespace cohort
