// Python's operations on strings, with the origin of every character kept.
//
// Pure functions; thread-safe. Text is valid UTF-8. Callers count the cost beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/jinja/text.h"

namespace cohort::jinja {

size_t count_chars(std::string_view text);

// The offset of character number `index`, or text.size() when there are fewer.
size_t offset_of_char(std::string_view text, size_t index);

// The first place of `needle` at or after `from`, in linear time; npos when there is none.
size_t find_bytes(std::string_view text, std::string_view needle, size_t from);
size_t rfind_bytes(std::string_view text, std::string_view needle);

bool is_python_space(char32_t c);      // str.isspace
bool is_python_printable(char32_t c);  // str.isprintable

enum class Side { kLeft, kRight, kBoth };

// str.strip, str.lstrip, str.rstrip: of white space, or of the characters of `chars`.
Text strip(const Text& text, Side side, const std::optional<std::string_view>& chars);

// str.replace. An empty `from` is found before every character and at the end. `max_count` below 0: no limit.
Text replace(const Text& text, std::string_view from, const Text& to, int64_t max_count);

enum class Case { kUpper, kLower, kTitle, kCapitalize, kSwap };

// str.upper, str.lower, str.title, str.capitalize, str.swapcase. Full mappings, regardless of neighbours.
Text change_case(const Text& text, Case target);

// The filter `title`, whose words are what is between white space, hyphens and opening brackets.
Text title_words(const Text& text);

// `text` with &, <, >, ' and " as HTML entities.
Text escape_html(const Text& text);

// str.isalpha and the like, of the whole text; false when it is empty.
enum class CharClass { kAlpha, kDigit, kAlnum, kSpace, kUpper, kLower };
bool is_all(std::string_view text, CharClass char_class);

}  // namespace cohort::jinja
