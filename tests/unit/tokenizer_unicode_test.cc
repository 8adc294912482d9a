#include <gtest/gtest.h>

#include <string>

#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/unicode_form.h"

namespace cohort {
namespace {

std::string repaired(std::string_view text) {
  std::string out;
  append_valid_utf8(text, out);
  return out;
}

TEST(Unicode, EncodesAndDecodesEveryCharacter) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(c, text);
    ASSERT_TRUE(is_valid_utf8(text)) << static_cast<uint32_t>(c);
    size_t pos = 0;
    ASSERT_EQ(next_char(text, pos), c);
    ASSERT_EQ(pos, text.size());
    ASSERT_EQ(char_before(text, text.size()), c);
  }
}

TEST(Unicode, ReplacesMaximalSubparts) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(repaired("plain"), "plain");
  EXPECT_EQ(repaired("\xFF"), r);
  EXPECT_EQ(repaired("a\xE2\x82z"), "a" + r + "z");
  EXPECT_EQ(repaired("\xF0\x9F\x98"), r);
  EXPECT_EQ(repaired("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(repaired("\xC0\xAF"), r + r);
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
}

TEST(Unicode, MapsBytesToPrintableCharactersAndBack) {
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = byte_to_char(static_cast<unsigned char>(byte));
    EXPECT_EQ(char_to_byte(c), byte);
  }
  EXPECT_EQ(byte_to_char(' '), U'\u0120');
  EXPECT_EQ(byte_to_char('\n'), U'\u010A');
  EXPECT_EQ(char_to_byte(U' '), -1);
  EXPECT_EQ(char_to_byte(U'\u2581'), -1);
}

TEST(Unicode, NormalizesAcrossStableCharacters) {
  const auto normalized = [](UnicodeForm form, std::string_view text) {
    std::string out;
    UnicodeNormalizer::get(form).append(text, out);
    return out;
  };
  EXPECT_EQ(normalized(UnicodeForm::kNfc, "cafe\xCC\x81!"), "caf\xC3\xA9!");
  EXPECT_EQ(normalized(UnicodeForm::kNfc, "\xCC\x81x"), "\xCC\x81x");
  EXPECT_EQ(normalized(UnicodeForm::kNfc, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"),
            "\xEA\xB0\x81");  // Hangul
  EXPECT_EQ(normalized(UnicodeForm::kNfd, "\xC3\xA9"), "e\xCC\x81");
  EXPECT_EQ(normalized(UnicodeForm::kNfkc, "\xEF\xAC\x81"), "fi");
  EXPECT_EQ(normalized(UnicodeForm::kNfkd, "\xC2\xBD"),
            "1\xE2\x81\x84"
            "2");
  EXPECT_TRUE(UnicodeNormalizer::get(UnicodeForm::kNfc).is_trivial("plain caf\xC3\xA9"));
  EXPECT_FALSE(UnicodeNormalizer::get(UnicodeForm::kNfd).is_trivial("plain caf\xC3\xA9"));
}

TEST(Unicode, OrdersALongRunOfMarks) {  // in a time that no prompt can make a server lose
  constexpr size_t kNumPairs = 300'000;
  const std::string above = "\xCC\x81";  // of class 230
  const std::string below = "\xCC\x96";  // of class 220
  const auto append = [](std::string text, std::string_view part, size_t count) {
    for (size_t i = 0; i < count; ++i) text += part;
    return text;
  };
  const std::string text = append("e", above + below, kNumPairs);
  std::string decomposed;
  UnicodeNormalizer::get(UnicodeForm::kNfd).append(text, decomposed);
  EXPECT_TRUE(decomposed == append(append("e", below, kNumPairs), above, kNumPairs));
  std::string composed;
  UnicodeNormalizer::get(UnicodeForm::kNfc).append(text, composed);
  EXPECT_TRUE(composed == append(append("\xC3\xA9", below, kNumPairs), above, kNumPairs - 1));
}

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().message();
  RegexScratch scratch;
  std::vector<std::string> found;
  Regex::Iterator iterator(*regex, text, scratch);
  for (Regex::Match match; iterator.next(match);) {
    found.emplace_back(text.substr(match.begin, match.end - match.begin));
  }
  return found;
}

using Strings = std::vector<std::string>;

TEST(Unicode, KnowsGraphemeClusters) {
  const auto first = [](std::string_view text) { return text.substr(0, grapheme_end(text, 0)); };
  EXPECT_EQ(first("ab"), "a");
  EXPECT_EQ(first("\r\nb"), "\r\n");
  EXPECT_EQ(first("e\xCC\x81\xCC\xA3x"), "e\xCC\x81\xCC\xA3");
  const std::string family = "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7";
  EXPECT_EQ(first(family + "x"), family);
}

TEST(Unicode, KnowsWhatHuggingFaceKnows) {
  EXPECT_TRUE(is_punctuation(U'\u2014') && is_punctuation('$') && !is_punctuation(U'\u20AC'));
  EXPECT_FALSE(is_punctuation(0x2E43)) << "came with Unicode 9";
  EXPECT_TRUE(is_nonspacing_mark(0x301) && !is_nonspacing_mark(0x903) && is_mark(0x903));
  EXPECT_FALSE(is_nonspacing_mark(0x8D4)) << "came with Unicode 9";
  EXPECT_TRUE(is_mark(0x8D4));
  EXPECT_FALSE(is_mark(0x1AC0)) << "came with Unicode 13";
  EXPECT_TRUE(is_control(0) && is_control(0xAD) && is_control(0xE000) && !is_control(' ') && !is_control(0x2028));
}

TEST(Regex, ReadsPatternsAsRubyDoes) {
  EXPECT_EQ(matches(R"(\s+)", "a \xE1\xA0\x8E\xC2\xA0z"), (Strings{" ", "\xC2\xA0"}));  // U+180E is no space
  EXPECT_EQ(matches(R"(\h+)", "xyz12abXf"), (Strings{"12ab", "f"}));
  EXPECT_EQ(matches(R"([\h]+)", "xyz12abXf"), (Strings{"12ab", "f"}));
  EXPECT_EQ(matches(R"([\u00e9]\u00E9)", "\xC3\xA9\xC3\xA9"), (Strings{"\xC3\xA9\xC3\xA9"}));
  EXPECT_EQ(matches(R"([]a]+)", "x]a]"), (Strings{"]a]"}));
  EXPECT_EQ(matches("^b$", "a\nb\nc"), (Strings{"b"}));
  EXPECT_EQ(matches("x*", "axxb"), (Strings{"", "xx", ""}));
  EXPECT_FALSE(Regex::compile(R"([^\W])").ok());
  EXPECT_EQ(matches("[a[bc]d]+", "xab[dc]x"), (Strings{"ab", "dc"}));
  EXPECT_EQ(matches(R"([^(\s|[.,!]x)]+)", "ab, c|d!e"), (Strings{"ab", "c", "d", "e"}));
  for (const char* pattern : {"[a[^b]]", "[a[b-c]]", "[a[b[c]]]", "[a-[b]]", "[[b]-c]", "[a[b", R"([a[\s]])"}) {
    EXPECT_FALSE(Regex::compile(pattern).ok()) << pattern;
  }
  EXPECT_FALSE(Regex::compile("(?m:.)").ok());
  EXPECT_FALSE(Regex::compile(R"(\C)").ok());
}

TEST(Regex, EndsTheSearchAtTheMatchLimit) {
  // Exponential without a limit.
  EXPECT_EQ(matches("(?:(a|aa)+)+b", std::string(60, 'a')), Strings{});
}

}  // namespace
}  // namespace cohort
