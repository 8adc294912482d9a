#include "launcher/gateway/token_texts.h"

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/tokenizer/byte_token.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

// The bytes that a spelling stands for: "<0xE2>" of a SentencePiece vocabulary, or GPT-2's alphabet. Nothing for one
// that is neither.
std::optional<std::string> bytes_of_spelling(const std::string& spelling) {
  if (const std::optional<char> byte = parse_byte_token(spelling)) return std::string(1, *byte);
  if (!is_valid_utf8(spelling)) return std::nullopt;
  std::string bytes;
  for (size_t at = 0; at < spelling.size();) {
    const int byte = char_to_byte(next_char(spelling, at));
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

}  // namespace

TokenTexts::TokenTexts(const Tokenizer& tokenizer) : tokenizer_(tokenizer), front_id_(tokenizer.token_to_id("a")) {
  if (front_id_) front_text_ = tokenizer_.decode(std::array{*front_id_}, false);
}

const TokenText& TokenTexts::of(int32_t id) {
  const auto found = texts_.find(id);
  return found != texts_.end() ? found->second : texts_.emplace(id, make(id)).first->second;
}

TokenText TokenTexts::make(int32_t id) const {
  TokenText token;
  if (tokenizer_.is_special(id)) {
    token.text = tokenizer_.id_to_token(id);
  } else if (front_id_) {
    token.text = tokenizer_.decode(std::array{*front_id_, id}, false);
    if (token.text.starts_with(front_text_)) token.text.erase(0, front_text_.size());
  } else {
    token.text = tokenizer_.decode(std::array{id}, false);
  }
  token.bytes = token.text;
  if (token.text.find(kReplacementCharacter) != std::string::npos) {
    if (auto bytes = bytes_of_spelling(tokenizer_.id_to_token(id))) token.bytes = *std::move(bytes);
  }
  return token;
}

int64_t num_chars(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace cohort
