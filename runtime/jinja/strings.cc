#include "runtime/jinja/strings.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "runtime/tokenizer/unicode.h"

namespace cohort::jinja {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

// The Latin characters whose uppercase is more than one.
struct Expansion {
  char32_t from;
  std::string_view upper;
  std::string_view title;
};
constexpr Expansion kExpansions[] = {
    {0xDF, "SS", "Ss"},
    {0x149, "\xCA\xBCN", "\xCA\xBCN"},
    {0x1F0, "J\xCC\x8C", "J\xCC\x8C"},
    {0xFB00, "FF", "Ff"},
    {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"},
    {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},
};

void append_upper(char32_t c, bool is_title, std::string& out) {
  const auto* found =
      std::find_if(std::begin(kExpansions), std::end(kExpansions), [&](const Expansion& e) { return e.from == c; });
  if (found != std::end(kExpansions)) {
    out += is_title ? found->title : found->upper;
    return;
  }
  const auto code = static_cast<utf8proc_int32_t>(c);
  append_utf8(static_cast<char32_t>(is_title ? utf8proc_totitle(code) : utf8proc_toupper(code)), out);
}

bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU ||
         (utf8proc_tolower(static_cast<utf8proc_int32_t>(c)) != static_cast<utf8proc_int32_t>(c) &&
          category(c) != UTF8PROC_CATEGORY_LT);
}

bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL ||
         (utf8proc_toupper(static_cast<utf8proc_int32_t>(c)) != static_cast<utf8proc_int32_t>(c) &&
          category(c) != UTF8PROC_CATEGORY_LT);
}

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT; }

bool is_alpha(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_digit(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

// Calls visit(c, is_data) for each character.
template <typename Visit>
void visit_chars(const Text& text, Visit visit) {
  text.visit_runs(0, text.size(), [&](std::string_view bytes, bool is_data) {
    for (size_t pos = 0; pos < bytes.size();) visit(next_char(bytes, pos), is_data);
  });
}

// Appends what `append_mapped(c, out)` makes of each character.
template <typename AppendMapped>
Text map_chars(const Text& text, AppendMapped append_mapped) {
  Text mapped;
  std::string piece;
  visit_chars(text, [&](char32_t c, bool is_data) {
    piece.clear();
    append_mapped(c, piece);
    mapped.append(piece, is_data);
  });
  mapped.set_markup(text.is_markup());
  return mapped;
}

bool is_in(char32_t c, std::string_view chars) {
  for (size_t pos = 0; pos < chars.size();) {
    if (next_char(chars, pos) == c) return true;
  }
  return false;
}

}  // namespace

size_t count_chars(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t offset_of_char(std::string_view text, size_t index) {
  size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) pos += utf8_length(text[pos]);
  return pos;
}

size_t find_bytes(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return kNotFound;
  if (needle.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found == nullptr ? kNotFound : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t rfind_bytes(std::string_view text, std::string_view needle) {
  // The first place in the reversed text, for the sake of linear time.
  const std::string reversed(text.rbegin(), text.rend());
  const std::string reversed_needle(needle.rbegin(), needle.rend());
  const size_t found = find_bytes(reversed, reversed_needle, 0);
  return found == kNotFound ? kNotFound : text.size() - found - needle.size();
}

bool is_python_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || is_white_space(c); }

bool is_python_printable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

Text strip(const Text& text, Side side, const std::optional<std::string_view>& chars) {
  const std::string_view view = text.view();
  const auto goes = [&](char32_t c) { return chars ? is_in(c, *chars) : is_python_space(c); };
  size_t begin = 0;
  size_t end = view.size();
  while (side != Side::kRight && begin < end) {
    size_t next = begin;
    if (!goes(next_char(view, next))) break;
    begin = next;
  }
  while (side != Side::kLeft && end > begin) {
    const char32_t c = char_before(view, end);
    if (!goes(c)) break;
    do --end;
    while ((view[end] & 0xC0) == 0x80);
  }
  return text.slice(begin, end);
}

Text replace(const Text& text, std::string_view from, const Text& to, int64_t max_count) {
  Text out;
  size_t begin = 0;
  size_t search = 0;
  for (int64_t i = 0; max_count < 0 || i < max_count; ++i) {
    const size_t at = find_bytes(text.view(), from, search);
    if (at == kNotFound) break;
    out.append(text, begin, at);
    out.append(to);
    begin = at + from.size();
    search = begin;
    if (from.empty()) {  // the next place is after one more character
      if (at == text.size()) break;
      search += utf8_length(text.view()[at]);
    }
  }
  out.append(text, begin, text.size());
  return out;
}

Text change_case(const Text& text, Case target) {
  bool in_word = false;
  bool is_first = true;
  return map_chars(text, [&](char32_t c, std::string& out) {
    const bool begins = target == Case::kTitle ? !in_word : is_first;
    in_word = is_cased(c);
    is_first = false;
    if (target == Case::kUpper || (target == Case::kSwap && is_lower(c))) {
      append_upper(c, false, out);
    } else if ((target == Case::kTitle || target == Case::kCapitalize) && begins) {
      append_upper(c, true, out);
    } else if (target == Case::kSwap && !is_upper(c)) {
      append_utf8(c, out);
    } else {
      append_lowercase(c, out);
    }
  });
}

Text title_words(const Text& text) {
  bool begins = true;
  return map_chars(text, [&](char32_t c, std::string& out) {
    const bool is_separator = is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    if (is_separator) {
      append_utf8(c, out);
    } else if (begins) {
      append_upper(c, false, out);
    } else {
      append_lowercase(c, out);
    }
    begins = is_separator;
  });
}

Text escape_html(const Text& text) {
  Text escaped = map_chars(text, [](char32_t c, std::string& out) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        append_utf8(c, out);
    }
  });
  escaped.set_markup(true);
  return escaped;
}

bool is_all(std::string_view text, CharClass char_class) {
  bool has_cased = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_char(text, pos);
    bool fits = true;
    switch (char_class) {
      case CharClass::kAlpha:
        fits = is_alpha(c);
        break;
      case CharClass::kDigit:
        fits = is_digit(c);
        break;
      case CharClass::kAlnum:
        fits = is_alpha(c) || is_numeric(c);
        break;
      case CharClass::kSpace:
        fits = is_python_space(c);
        break;
      case CharClass::kUpper:
        fits = !is_cased(c) || is_upper(c);
        break;
      case CharClass::kLower:
        fits = !is_cased(c) || is_lower(c);
        break;
    }
    if (!fits) return false;
    has_cased = has_cased || is_cased(c);
  }
  const bool wants_cased = char_class == CharClass::kUpper || char_class == CharClass::kLower;
  return wants_cased ? has_cased : !text.empty();
}

}  // namespace cohort::jinja
