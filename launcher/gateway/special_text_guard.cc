#include "launcher/gateway/special_text_guard.h"

#include <algorithm>

#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

size_t last_char_begin(std::string_view text) {
  size_t begin = text.size();
  do --begin;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80);
  return begin;
}

}  // namespace

SpecialTextGuard::SpecialTextGuard(const Tokenizer& tokenizer) : trie_(1) {
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(id)) continue;
    std::string spelling = tokenizer.id_to_token(id);
    if (spelling.empty() || !is_valid_utf8(spelling) || last_char_begin(spelling) == 0) continue;
    int32_t node = 0;
    for (const char byte : spelling) {
      int32_t next = step(node, byte);
      if (next < 0) {
        next = static_cast<int32_t>(trie_.size());
        trie_.emplace_back();
        trie_[static_cast<size_t>(node)].edges.push_back({byte, next});
      }
      node = next;
    }
    trie_[static_cast<size_t>(node)].is_end = true;
    is_first_byte_[static_cast<unsigned char>(spelling[0])] = true;
    spellings_.push_back(std::move(spelling));
  }
}

int32_t SpecialTextGuard::step(int32_t node, char byte) const {
  for (const Edge& edge : trie_[static_cast<size_t>(node)].edges) {
    if (edge.byte == byte) return edge.target;
  }
  return -1;
}

std::vector<size_t> SpecialTextGuard::breaks_in(std::string_view text) const {
  std::vector<size_t> breaks;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    if (!is_first_byte_[static_cast<unsigned char>(text[begin])]) [[likely]]
      continue;
    int32_t node = 0;
    for (size_t at = begin; at < text.size() && (node = step(node, text[at])) >= 0; ++at) {
      if (!trie_[static_cast<size_t>(node)].is_end) continue;
      breaks.push_back(begin + utf8_length(text[begin]));
      break;
    }
  }
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first != std::string_view::npos) {
    const size_t last = text.find_last_not_of(kWhiteSpace);
    find_at_edges(text.substr(first, last + 1 - first), first, breaks);
  }
  std::sort(breaks.begin(), breaks.end());
  breaks.erase(std::unique(breaks.begin(), breaks.end()), breaks.end());
  return breaks;
}

// `text` begins at `offset` of the whole and is not empty.
void SpecialTextGuard::find_at_edges(std::string_view text, size_t offset, std::vector<size_t>& breaks) const {
  for (const std::string& spelling : spellings_) {
    for (size_t length = 1; length < spelling.size() && length <= text.size(); ++length) {
      if (text.ends_with(std::string_view(spelling).substr(0, length))) {
        const size_t begin = text.size() - length;
        breaks.push_back(offset + begin + utf8_length(text[begin]));
      }
      if (text.starts_with(std::string_view(spelling).substr(spelling.size() - length))) {
        breaks.push_back(offset + last_char_begin(text.substr(0, length)));
      }
    }
    const std::string_view within = std::string_view(spelling).substr(1, spelling.size() - 2);
    if (within.find(text) != std::string_view::npos) breaks.push_back(offset);
  }
}

}  // namespace cohort
