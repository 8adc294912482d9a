#include "runtime/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

bool touches_word(std::string_view text, size_t begin, size_t end) {
  size_t pos = end;
  return (begin > 0 && is_word(char_before(text, begin))) || (end < text.size() && is_word(next_char(text, pos)));
}

size_t skip_space_before(std::string_view text, size_t begin) {
  while (begin > 0 && is_white_space(char_before(text, begin))) {
    do --begin;
    while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80);
  }
  return begin;
}

size_t skip_space_after(std::string_view text, size_t end) {
  for (size_t pos = end; pos < text.size(); end = pos) {
    if (!is_white_space(next_char(text, pos))) break;
  }
  return end;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns)
    : tokens_(std::move(tokens)), trie_(1) {
  first_step_.fill(-1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (patterns[i].empty()) continue;
    add_pattern(patterns[i], static_cast<int32_t>(i));
    (tokens_[i].is_special ? has_special_tokens_ : has_plain_tokens_) = true;
  }
  for (const Edge& edge : trie_[0].edges) first_step_[edge.byte] = edge.target;
}

void AddedTokenMatcher::add_pattern(std::string_view pattern, int32_t token) {
  int32_t node = 0;
  for (const char c : pattern) {
    int32_t next = step(node, c);
    if (next < 0) {
      next = static_cast<int32_t>(trie_.size());
      trie_.emplace_back();
      trie_[static_cast<size_t>(node)].edges.push_back({static_cast<unsigned char>(c), next});
    }
    node = next;
  }
  // Of two tokens that look the same, the one that comes first counts.
  int32_t& end = trie_[static_cast<size_t>(node)].token;
  if (end < 0) end = token;
}

int32_t AddedTokenMatcher::step(int32_t node, char c) const {
  for (const Edge& edge : trie_[static_cast<size_t>(node)].edges) {
    if (edge.byte == static_cast<unsigned char>(c)) return edge.target;
  }
  return -1;
}

bool AddedTokenMatcher::find(std::string_view text, size_t from, Match& match) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    int32_t node = first_step_[static_cast<unsigned char>(text[begin])];
    if (node < 0) [[likely]]
      continue;
    const AddedToken* longest = nullptr;
    for (size_t end = begin + 1; node >= 0; ++end) {
      const int32_t token = trie_[static_cast<size_t>(node)].token;
      if (token >= 0) {
        longest = &tokens_[static_cast<size_t>(token)];
        match = {begin, end, longest};
      }
      if (end == text.size()) break;
      node = step(node, text[end]);
    }
    if (longest != nullptr) return true;
  }
  return false;
}

void AddedTokenMatcher::split(std::string_view text, bool parse_special, std::span<const TextRange> plain,
                              std::vector<TextPart>& parts) const {
  size_t part_begin = 0;
  if (has_plain_tokens_ || parse_special) {
    size_t from = 0;
    for (Match match; find(text, from, match);) {
      from = match.end;
      const AddedToken& token = *match.token;
      if (token.is_special && !parse_special) continue;
      if (token.is_special && touches(plain, match.begin, match.end)) {
        from = match.begin + 1;  // another may begin inside it
        continue;
      }
      if (token.single_word && touches_word(text, match.begin, match.end)) continue;
      size_t begin = match.begin;
      size_t end = match.end;
      // The match before may have taken the space already.
      if (token.lstrip) begin = std::max(skip_space_before(text, begin), part_begin);
      if (token.rstrip) end = skip_space_after(text, end);
      if (part_begin < begin) parts.push_back({part_begin, begin, -1});
      parts.push_back({begin, end, token.id});
      part_begin = end;
    }
  }
  if (part_begin < text.size()) parts.push_back({part_begin, text.size(), -1});
}

}  // namespace cohort
