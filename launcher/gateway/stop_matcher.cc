#include "launcher/gateway/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace cohort {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop) : include_stop_(include_stop) {
  for (std::string& stop : stops) {
    Pattern pattern;
    pattern.failure.assign(stop.size() + 1, 0);
    for (size_t i = 1, length = 0; i < stop.size(); ++i) {
      while (length > 0 && stop[i] != stop[length]) length = pattern.failure[length];
      if (stop[i] == stop[length]) ++length;
      pattern.failure[i + 1] = length;
    }
    pattern.text = std::move(stop);
    patterns_.push_back(std::move(pattern));
  }
}

StopMatcher::Piece StopMatcher::push(std::string_view text, bool may_stop) {
  if (patterns_.empty()) return {.text = std::string(text)};
  Piece piece;
  for (const char c : text) {
    held_.push_back(c);
    for (size_t i = 0; i < patterns_.size(); ++i) {
      Pattern& pattern = patterns_[i];
      while (pattern.num_matched > 0 && pattern.text[pattern.num_matched] != c) {
        pattern.num_matched = pattern.failure[pattern.num_matched];
      }
      if (pattern.text[pattern.num_matched] == c) ++pattern.num_matched;
      if (pattern.num_matched < pattern.text.size()) continue;
      const bool is_longer = piece.matched_stop < 0 || pattern.text.size() > stop(piece.matched_stop).size();
      if (may_stop && is_longer) piece.matched_stop = static_cast<int>(i);
      pattern.num_matched = pattern.failure[pattern.num_matched];
    }
    if (piece.matched_stop >= 0) {
      if (!include_stop_) held_.resize(held_.size() - stop(piece.matched_stop).size());
      piece.text = std::exchange(held_, {});
      return piece;
    }
  }
  size_t num_held = 0;
  for (const Pattern& pattern : patterns_) num_held = std::max(num_held, pattern.num_matched);
  piece.text = held_.substr(0, held_.size() - num_held);
  held_.erase(0, piece.text.size());
  return piece;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace cohort
