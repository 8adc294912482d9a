// TokenTexts: how single tokens read, for log-probabilities.
//
// Not thread-safe: keeps what it has looked up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

struct TokenText {
  std::string text;   // valid UTF-8; what is no whole character reads as U+FFFD
  std::string bytes;  // as they are in the model's output
};

class TokenTexts {
 public:
  // `tokenizer` is borrowed.
  explicit TokenTexts(const Tokenizer& tokenizer);

  // Of a token within a text: with its leading space, whatever decoders do at the front of a text. Special tokens read
  // as they are spelt. Valid as long as this object.
  const TokenText& of(int32_t id);

 private:
  TokenText make(int32_t id) const;

  const Tokenizer& tokenizer_;
  std::optional<int32_t> front_id_;  // a token to stand before the one that is asked for
  std::string front_text_;
  std::unordered_map<int32_t, TokenText> texts_;  // of at most the vocabulary
};

// The number of characters (code points) of a valid UTF-8 text.
int64_t num_chars(std::string_view text);

}  // namespace cohort
