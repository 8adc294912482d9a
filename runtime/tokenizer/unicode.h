// UTF-8 and the character classes that tokenizer files speak of.
//
// Functions that take text require valid UTF-8 unless they say otherwise. All are pure and
// thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cohort {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// How the bytes at the front of a text read as UTF-8 (Unicode 15, table 3-7).
struct Utf8Prefix {
  enum Kind { kCharacter, kInvalid, kTruncated };
  Kind kind;
  size_t num_bytes;  // of the character, of the maximal ill-formed subpart, or of the unfinished character
};

// Requires a text that is not empty; it need not be valid. kTruncated: the text ends within a
// character.
Utf8Prefix classify_utf8_prefix(std::string_view text);

// Whether the whole of `text` is well-formed UTF-8.
bool is_valid_utf8(std::string_view text);

// Appends `text` with each maximal ill-formed subpart replaced by U+FFFD.
void append_valid_utf8(std::string_view text, std::string& out);

// Bytes of the character that a lead byte opens.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The character at `pos`, which is moved past it. Requires pos < text.size().
char32_t next_char(std::string_view text, size_t& pos);

// The character that ends at `end`. Requires end > 0.
char32_t char_before(std::string_view text, size_t end);

void append_utf8(char32_t c, std::string& out);

bool is_white_space(char32_t c);  // the property White_Space
bool is_numeric(char32_t c);      // categories Nd, Nl, No
bool is_word(char32_t c);         // \w of UTS #18: Alphabetic, M, Nd, Pc, Join_Control

// These as the tables of Hugging Face `tokenizers` have them, see unicode_age.h.
bool is_punctuation(char32_t c);      // category P, and the ASCII symbols
bool is_mark(char32_t c);             // category M
bool is_nonspacing_mark(char32_t c);  // category Mn
bool is_control(char32_t c);          // categories Cc, Cf, Co

// The end of the extended grapheme cluster (UAX #29) that begins at `begin`. Requires begin < text.size().
size_t grapheme_end(std::string_view text, size_t begin);

// Appends the full lowercase mapping of one character, regardless of its neighbours.
void append_lowercase(char32_t c, std::string& out);

// GPT-2's alphabet of 256 printable characters, one for each byte value.
char32_t byte_to_char(unsigned char byte);

// The byte that `c` stands for in that alphabet, or -1.
int char_to_byte(char32_t c);

}  // namespace cohort
