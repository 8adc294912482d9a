#include "launcher/gateway/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace cohort {
namespace {

struct Outcome {
  std::string text;
  int matched_stop = -1;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << '"' << outcome.text << "\" " << outcome.matched_stop;
}

Outcome run(const std::vector<std::string>& stops, bool include_stop, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops, include_stop);
  Outcome outcome;
  for (const std::string& piece : pieces) {
    const StopMatcher::Piece out = matcher.push(piece, true);
    outcome.text += out.text;
    outcome.matched_stop = out.matched_stop;
    if (outcome.matched_stop >= 0) return outcome;
  }
  outcome.text += matcher.finish();
  return outcome;
}

TEST(StopMatcher, EndsBeforeOrBehindTheStop) {
  EXPECT_EQ(run({"END"}, false, {"one EN", "D two"}), (Outcome{"one ", 0}));
  EXPECT_EQ(run({"END"}, true, {"one EN", "D two"}), (Outcome{"one END", 0}));
  EXPECT_EQ(run({"END"}, false, {"one EN", "d two"}), (Outcome{"one ENd two", -1}));
  EXPECT_EQ(run({}, false, {"one", " two"}), (Outcome{"one two", -1}));
}

TEST(StopMatcher, TakesTheFirstToEndAndOfTheseTheLongest) {
  EXPECT_EQ(run({"bcd", "abcde", "c"}, false, {"xabcdef"}), (Outcome{"xab", 2}));
  EXPECT_EQ(run({"bc", "abc"}, false, {"xabcdef"}), (Outcome{"x", 1}));
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"aab"}, false);
  EXPECT_EQ(matcher.push("xa", true).text, "x");
  EXPECT_EQ(matcher.push("a", true).text, "");
  EXPECT_EQ(matcher.push("a", true).text, "a");  // "aa" may still become one
  EXPECT_EQ(matcher.push("c", true).text, "aac");
  EXPECT_EQ(matcher.push("a", true).text, "");
  EXPECT_EQ(matcher.finish(), "a");
}

TEST(StopMatcher, PassesOverMatchesThatEndTooEarly) {
  StopMatcher matcher({"ab"}, false);
  EXPECT_EQ(matcher.push("ab", false).text, "ab");
  EXPECT_EQ(matcher.push("a", false).text, "");
  const auto piece = matcher.push("bc", true);
  EXPECT_EQ(piece.matched_stop, 0);
  EXPECT_EQ(piece.text, "");
}

// What a search of the whole text finds.
Outcome expected(const std::vector<std::string>& stops, bool include_stop, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    Outcome best;
    for (size_t i = 0; i < stops.size(); ++i) {
      const std::string before = text.substr(0, end);
      const bool is_longer =
          best.matched_stop < 0 || stops[i].size() > stops[static_cast<size_t>(best.matched_stop)].size();
      if (!before.ends_with(stops[i]) || !is_longer) continue;
      best = {include_stop ? before : before.substr(0, end - stops[i].size()), static_cast<int>(i)};
    }
    if (best.matched_stop >= 0) return best;
  }
  return {text, -1};
}

TEST(StopMatcher, DoesNotDependOnThePieces) {
  std::mt19937 random(7);
  const auto letters = [&](size_t max) {
    std::string text(1 + random() % max, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = letters(6) + (random() % 2 ? "c" : "");
    std::string text;
    std::vector<std::string> pieces(random() % 8);
    for (std::string& piece : pieces) {
      piece = letters(5) + (random() % 3 ? "" : "c");
      text += piece;
    }
    const bool include_stop = random() % 2;
    EXPECT_EQ(run(stops, include_stop, pieces), expected(stops, include_stop, text)) << text;
  }
}

}  // namespace
}  // namespace cohort
