#include "runtime/tokenizer/unicode.h"

#include <utf8proc.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "runtime/tokenizer/unicode_age.h"

namespace cohort {
namespace {

bool in_range(unsigned char byte, unsigned char low, unsigned char high) { return byte >= low && byte <= high; }

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_mark_category(utf8proc_category_t kind) {
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ME;
}

// Letters by the property Alphabetic that are symbols by category: circled and squared Latin
// letters.
bool is_alphabetic_symbol(char32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

// Printable Latin-1 stands for itself; the other 68 bytes follow from U+0100 on, in order.
bool is_self_mapped(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct ByteAlphabet {
  std::array<char32_t, 256> chars{};
  std::array<int16_t, 256 + 68> bytes{};

  ByteAlphabet() {
    bytes.fill(-1);
    char32_t next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      chars[byte] = is_self_mapped(byte) ? byte : next++;
      bytes[chars[byte]] = static_cast<int16_t>(byte);
    }
  }
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

// The length of the run of ASCII bytes from `pos` on.
size_t ascii_run(std::string_view text, size_t pos) {
  const size_t begin = pos;
  for (; pos + 8 <= text.size(); pos += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + pos, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (pos < text.size() && static_cast<unsigned char>(text[pos]) < 0x80) ++pos;
  return pos - begin;
}

// The end of the well-formed text from the front on.
size_t valid_prefix(std::string_view text) {
  size_t pos = 0;
  while (true) {
    pos += ascii_run(text, pos);
    if (pos == text.size()) return pos;
    const Utf8Prefix prefix = classify_utf8_prefix(text.substr(pos, 4));
    if (prefix.kind != Utf8Prefix::kCharacter) return pos;
    pos += prefix.num_bytes;
  }
}

}  // namespace

Utf8Prefix classify_utf8_prefix(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {Utf8Prefix::kCharacter, 1};
  if (!in_range(lead, 0xC2, 0xF4)) return {Utf8Prefix::kInvalid, 1};
  const size_t length = utf8_length(text[0]);
  // The second byte's range is narrower after these leads: no overlong forms, surrogates, or beyond
  // U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Prefix::kTruncated, i};
    if (!in_range(static_cast<unsigned char>(text[i]), low, high)) return {Utf8Prefix::kInvalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Prefix::kCharacter, length};
}

bool is_valid_utf8(std::string_view text) { return valid_prefix(text) == text.size(); }

void append_valid_utf8(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const size_t num_valid = valid_prefix(text);
    out.append(text.substr(0, num_valid));
    text.remove_prefix(num_valid);
    if (text.empty()) return;
    text.remove_prefix(classify_utf8_prefix(text).num_bytes);
    out.append(kReplacementCharacter);
  }
}

char32_t next_char(std::string_view text, size_t& pos) {
  const auto byte = [&](size_t i) -> char32_t { return static_cast<unsigned char>(text[pos + i]); };
  const char32_t lead = byte(0);
  char32_t c = lead;
  const size_t length = utf8_length(text[pos]);
  if (length == 2) c = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
  if (length == 3) c = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  if (length == 4) {
    c = (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
  pos += length;
  return c;
}

char32_t char_before(std::string_view text, size_t end) {
  size_t pos = end - 1;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) --pos;
  return next_char(text, pos);
}

void append_utf8(char32_t c, std::string& out) {
  const auto continuation = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += continuation(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += continuation(6);
    out += continuation(0);
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += continuation(12);
    out += continuation(6);
    out += continuation(0);
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  }
  if (c == 0x166D || c == 0x111C9) return true;  // no longer in later versions
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO && !is_newer_than_unicode_9(c);
}

bool is_mark(char32_t c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // no longer in later versions
  return is_mark_category(category(c)) && !is_newer_than_unicode_9(c) && c != 0x111C9;
}

bool is_nonspacing_mark(char32_t c) {
  if (c == 0x1734) return true;  // no longer in later versions
  return category(c) == UTF8PROC_CATEGORY_MN && !is_newer_than_unicode_8(c);
}

bool is_control(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CO ||
         (kind == UTF8PROC_CATEGORY_CF && !is_newer_than_unicode_9(c));
}

size_t grapheme_end(std::string_view text, size_t begin) {
  size_t pos = begin;
  auto last = static_cast<utf8proc_int32_t>(next_char(text, pos));
  utf8proc_int32_t state = 0;
  for (size_t next = pos; pos < text.size(); pos = next) {
    const auto c = static_cast<utf8proc_int32_t>(next_char(text, next));
    if (utf8proc_grapheme_break_stateful(last, c, &state)) return pos;
    last = c;
  }
  return pos;
}

bool is_word(char32_t c) {
  const utf8proc_category_t kind = category(c);
  const bool is_letter = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
  return is_letter || is_mark_category(kind) || kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
         kind == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || is_alphabetic_symbol(c);
}

void append_lowercase(char32_t c, std::string& out) {
  if (c == 0x130) {  // the one character whose lowercase is two: i and a combining dot above
    out += "i\xCC\x87";
    return;
  }
  append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
}

char32_t byte_to_char(unsigned char byte) { return byte_alphabet().chars[byte]; }

int char_to_byte(char32_t c) { return c < byte_alphabet().bytes.size() ? byte_alphabet().bytes[c] : -1; }

}  // namespace cohort
