#include "runtime/tokenizer/charsmap.h"

#include <cstring>
#include <utility>

#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr size_t kMaxGraphemeBytes = 5;

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes += static_cast<char>(bits >> num_bits & 0xFF);
  }
  return bytes;
}

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

// The parts of a unit of the double array, as DoubleArrayUnit of darts.h.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t label_of(uint32_t unit) { return unit & (uint32_t{1} << 31 | 0xFF); }
size_t offset_of(uint32_t unit) { return size_t{unit >> 10} << ((unit & uint32_t{1} << 9) >> 6); }
size_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

Result<Charsmap> Charsmap::parse_base64(std::string_view text) {
  const std::optional<std::string> bytes = decode_base64(text);
  if (!bytes) return invalid_argument("not base64");
  return parse(*bytes);
}

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  if (bytes.size() < 4) return invalid_argument("too short");
  const size_t num_units = read_u32(bytes, 0) / 4;
  if (num_units == 0 || num_units > (bytes.size() - 4) / 4) {
    return invalid_argument("its trie has " + std::to_string(num_units * 4) + " bytes, the whole " +
                            std::to_string(bytes.size()));
  }
  std::vector<uint32_t> units;
  units.reserve(num_units);
  for (size_t i = 0; i < num_units; ++i) units.push_back(read_u32(bytes, 4 + 4 * i));
  std::string replacements(bytes.substr(4 + 4 * num_units));
  if (!is_valid_utf8(replacements)) return invalid_argument("its replacements are not valid UTF-8");
  return Charsmap(std::move(units), std::move(replacements));
}

Charsmap::Charsmap(std::vector<uint32_t> units, std::string replacements)
    : units_(std::move(units)), replacements_(std::move(replacements)) {
  for (size_t c = 0; c < is_stable_.size(); ++c) {
    const char text = static_cast<char>(c);
    is_stable_[c] = !shortest(std::string_view(&text, 1));
  }
}

// Calls visit(length, offset of the replacement) for each entry that `text` begins with, the shortest first, until it
// returns false.
template <typename Visit>
void Charsmap::visit_entries(std::string_view text, Visit visit) const {
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) return;  // ends a key
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) return;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (has_leaf(unit) && (node >= units_.size() || !visit(i + 1, value_of(units_[node])))) return;
  }
}

// What the shortest entry that `text` begins with becomes.
std::optional<std::string_view> Charsmap::shortest(std::string_view text) const {
  std::optional<std::string_view> found;
  visit_entries(text, [&](size_t, size_t offset) {
    found = replacement_at(offset);
    return false;
  });
  return found;
}

Charsmap::Replacement Charsmap::longest(std::string_view text) const {
  Replacement found;
  visit_entries(text, [&](size_t length, size_t offset) {
    if (length < text.size() && is_continuation(text[length])) return true;  // ends within a character
    if (const auto replacement = replacement_at(offset)) found = {length, *replacement};
    return true;
  });
  return found;
}

std::optional<std::string_view> Charsmap::replacement_at(size_t offset) const {
  if (offset > replacements_.size()) return std::nullopt;
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  if (!rest.empty() && is_continuation(rest[0])) return std::nullopt;
  return rest.substr(0, rest.find('\0'));
}

bool Charsmap::is_trivial(std::string_view text) const {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || !is_stable_[byte]) return false;
  }
  return true;
}

void Charsmap::append(std::string_view text, std::string& out) const {
  const auto is_stable_at = [&](size_t pos) {
    const auto byte = static_cast<unsigned char>(text[pos]);
    return byte < 0x80 && is_stable_[byte];
  };
  for (size_t pos = 0; pos < text.size();) {
    // Between two ASCII characters is a boundary, but for CR LF.
    size_t run_end = pos;
    while (run_end < text.size() && is_stable_at(run_end) && text[run_end] != '\r') ++run_end;
    if (run_end < text.size() && static_cast<unsigned char>(text[run_end]) >= 0x80 && run_end > pos) --run_end;
    out.append(text.substr(pos, run_end - pos));
    pos = run_end;
    if (pos == text.size()) return;
    const std::string_view grapheme = text.substr(pos, grapheme_end(text, pos) - pos);
    pos += grapheme.size();
    const auto whole = grapheme.size() <= kMaxGraphemeBytes ? shortest(grapheme) : std::nullopt;
    if (whole) {
      out.append(*whole);
    } else {
      append_characters(grapheme, out);
    }
  }
}

void Charsmap::append_characters(std::string_view text, std::string& out) const {
  for (size_t pos = 0; pos < text.size();) {
    const std::string_view character = text.substr(pos, utf8_length(text[pos]));
    out.append(shortest(character).value_or(character));
    pos += character.size();
  }
}

}  // namespace cohort
