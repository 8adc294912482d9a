// StopMatcher: finds stop strings in a text that comes in pieces, and holds back what may become one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cohort {

// The match that ends first counts, whatever the pieces; of those that end together, the longest. Each byte costs time
// in proportion to the number of strings (Knuth, Morris and Pratt 1977). A value; not thread-safe.
class StopMatcher {
 public:
  struct Piece {
    std::string text;       // certain to belong to the output, as far as it has come
    int matched_stop = -1;  // the stop string that ends the output: `text` is its last
  };

  // None of `stops` is empty. With `include_stop` the output ends with the stop string, otherwise before it.
  StopMatcher(std::vector<std::string> stops, bool include_stop);

  // The next piece of the text. Matches that end in it are passed over unless `may_stop`. Requires that nothing has
  // matched before.
  Piece push(std::string_view text, bool may_stop);

  // What is still held back when the text has ended.
  std::string finish();

  const std::string& stop(int index) const { return patterns_[static_cast<size_t>(index)].text; }

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> failure;  // [i]: of text[0, i], the longest proper prefix that is its suffix
    size_t num_matched = 0;       // the longest prefix of `text` that the text so far ends with
  };

  std::vector<Pattern> patterns_;
  bool include_stop_;
  std::string held_;
};

}  // namespace cohort
