// The added tokens of a tokenizer.json: texts that become one token before anything else looks at
// them.
//
// Built once, then immutable and thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/text_range.h"

namespace cohort {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // is looked for in the normalized text
  bool is_special = false;
};

// A part of a text: an added token, or what is between two.
struct TextPart {
  size_t begin;
  size_t end;
  int32_t id;  // -1: text
};

// Finds added tokens in a text, the longest of those that begin at the leftmost place.
class AddedTokenMatcher {
 public:
  // `patterns[i]` is what `tokens[i]` looks like in the text. Empty patterns match nothing.
  AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns);

  // Appends the parts of `text` from left to right, none of them empty. Special tokens count as
  // text unless `parse_special` is set, and where they have a byte of one of the `plain` ranges.
  void split(std::string_view text, bool parse_special, std::span<const TextRange> plain,
             std::vector<TextPart>& parts) const;

  bool has_special_tokens() const { return has_special_tokens_; }

 private:
  struct Edge {
    unsigned char byte;
    int32_t target;
  };
  struct Node {
    std::vector<Edge> edges;
    int32_t token = -1;  // index of the token that ends here
  };
  struct Match {
    size_t begin;
    size_t end;
    const AddedToken* token;
  };

  void add_pattern(std::string_view pattern, int32_t token);
  int32_t step(int32_t node, char c) const;
  bool find(std::string_view text, size_t from, Match& match) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> trie_;               // trie_[0] is the root
  std::array<int32_t, 256> first_step_;  // node after the first byte, -1 where no pattern begins so
  bool has_plain_tokens_ = false;        // some token is not special
  bool has_special_tokens_ = false;
};

}  // namespace cohort
