// The tokens "<0x00>" to "<0xFF>" that SentencePiece vocabularies spell unknown characters with.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace cohort {

inline std::optional<char> parse_byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned byte = 0;
  const char* end = token.data() + 5;
  if (std::from_chars(token.data() + 3, end, byte, 16).ptr != end) return std::nullopt;
  return static_cast<char>(byte);
}

}  // namespace cohort
