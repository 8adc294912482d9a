#include "launcher/gateway/token_texts.h"
#include "tests/files.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

std::unique_ptr<Tokenizer> load(const std::string& folder) {
  auto tokenizer = Tokenizer::load(test::source_dir() / folder);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

// What the tokens of a text read as, one by one, and their bytes together.
void expect_tokens_of(const std::string& folder, const std::string& text) {
  SCOPED_TRACE(folder);
  const auto tokenizer = load(folder);
  TokenTexts texts(*tokenizer);
  // Behind another word, where a space before it is one.
  const auto ids = tokenizer->encode("a" + text, {.add_special_tokens = false});
  std::string bytes;
  for (const int32_t id : ids) bytes += texts.of(id).bytes;
  EXPECT_EQ(bytes.substr(bytes.find('a')), "a" + text);
  EXPECT_EQ(&texts.of(ids[0]), &texts.of(ids[0]));
}

TEST(TokenTexts, TheirBytesMakeTheText) {
  for (const char* folder : {"configs/quickstart/model", "tests/data/tokenizer/gpt2", "tests/data/tokenizer/llama2",
                             "tests/data/tokenizer/llama3", "tests/data/tokenizer/mistral"}) {
    expect_tokens_of(folder, " the time  \xF0\x9F\x98\x80 \xE4\xB8\xAD\xC3\xA9\n end.");
  }
}

TEST(TokenTexts, PartsOfCharactersKeepTheirBytes) {
  for (const char* folder : {"configs/quickstart/model", "tests/data/tokenizer/llama2"}) {
    const auto tokenizer = load(folder);
    TokenTexts texts(*tokenizer);
    const auto ids = tokenizer->encode("\xF0\x9F\x98\x80", {.add_special_tokens = false});
    const TokenText& last = texts.of(ids.back());
    EXPECT_EQ(last.text, "\xEF\xBF\xBD");
    EXPECT_EQ(last.bytes.back(), '\x80');
  }
}

TEST(TokenTexts, SpecialTokensReadAsTheyAreSpelt) {
  const auto tokenizer = load("configs/quickstart/model");
  TokenTexts texts(*tokenizer);
  EXPECT_EQ(texts.of(1).text, "<|end_of_text|>");
  EXPECT_EQ(texts.of(1).bytes, "<|end_of_text|>");
}

TEST(TokenTexts, CharactersAreCounted) {
  EXPECT_EQ(num_chars(""), 0);
  EXPECT_EQ(num_chars("a\xC3\xA9\xF0\x9F\x98\x80"), 3);
}

}  // namespace
}  // namespace cohort
