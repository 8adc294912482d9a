// SpecialTextGuard: keeps what users write from reading as special tokens in a prompt that a chat template makes.
//
// A template puts control tokens ("<|im_start|>") and the texts of users into one string, which is then tokenized with
// special tokens recognised. So that only the template's count, each text gets breaks beforehand, places that no
// special token may lie across (Tokenizer::EncodeOptions::breaks). A special token of the prompt that has characters of
// a user's text either
//   - lies in the text: there is a break behind the first character of every place that spells one;
//   - begins in the text and ends behind it: a suffix of the text is a proper prefix of the token; there is a break
//     behind that suffix's first character;
//   - ends in the text and begins before it: a prefix of the text is a proper suffix of the token; there is a break
//     before that prefix's last character;
//   - holds the whole text, which then is within the token's spelling: there is a break before the text.
// In every case the break is inside the token, which therefore is not made. The last three look at the text without the
// white space around it, since templates trim. It holds for templates that put in texts whole, trimmed or cut; one that
// composes a control token from pieces of a user's text is out of reach, as is a token of one character.
//
// Other text is unchanged, and is tokenized as a whole: the ids are those that the template's author meant.
//
// Immutable; thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

class SpecialTextGuard {
 public:
  explicit SpecialTextGuard(const Tokenizer& tokenizer);

  // Byte offsets, ascending, of the breaks that a text of a user needs; as a rule none. `text` is valid UTF-8.
  std::vector<size_t> breaks_in(std::string_view text) const;

 private:
  struct Edge {
    char byte;
    int32_t target;
  };
  struct Node {
    std::vector<Edge> edges;
    bool is_end = false;  // of a spelling
  };

  int32_t step(int32_t node, char byte) const;
  void find_at_edges(std::string_view text, size_t offset, std::vector<size_t>& breaks) const;

  std::vector<std::string> spellings_;  // of more than one character
  std::vector<Node> trie_;              // of spellings_; the root is first
  std::array<bool, 256> is_first_byte_{};
};

}  // namespace cohort
