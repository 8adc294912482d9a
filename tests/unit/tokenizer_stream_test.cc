// A stream of tokens yields the text of all of them, and never half a character.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/stream_decoder.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/unicode.h"
#include "tests/files.h"

namespace cohort {
namespace {

using test::data_dir;
using test::read_file;

// Whether `id` is one byte, as SentencePiece spells it.
bool is_byte_token(const Tokenizer& tokenizer, int32_t id) {
  const std::string token = tokenizer.id_to_token(id);
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

class TokenizerStream : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::load(data_dir() / "tokenizer" / GetParam());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = *std::move(tokenizer);
  }

  // The text of a stream; checks that each piece of it is whole.
  std::string stream(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
    StreamDecoder decoder(*tokenizer_, skip_special_tokens);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = decoder.append(id);
      EXPECT_TRUE(is_valid_utf8(piece)) << testing::PrintToString(piece);
      text += piece;
    }
    const std::string rest = decoder.finish();
    EXPECT_TRUE(is_valid_utf8(rest)) << testing::PrintToString(rest);
    return text + rest;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerStream, EqualsWholeDecodingOfTexts) {
  std::vector<std::string> texts = {
      "",
      " ",
      "Hello, world!",
      "  two  spaces  ",
      "\xF0\x9F\x99\x82",
      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 family \xF0\x9F\x87\xA9\xF0\x9F\x87\xAA",
      "\xEF\xBF\xBD\xEF\xBF\xBDx",
      "a\xFF\xE2\x82z",
      "<s>Hello</s> <|im_start|>user"};
  for (const auto& entry : std::filesystem::directory_iterator(data_dir() / "udhr")) {
    texts.push_back(read_file(entry.path()).substr(0, 4000));
  }
  for (const std::string& text : texts) {
    for (const bool special : {false, true}) {
      const std::vector<int32_t> ids = tokenizer_->encode(text, {.add_special_tokens = true, .parse_special = special});
      EXPECT_EQ(stream(ids, special), tokenizer_->decode(ids, special)) << testing::PrintToString(text);
    }
  }
}

TEST_P(TokenizerStream, EqualsWholeDecodingOfRandomIds) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<int32_t> ids;
    const auto length = random() % 40;
    while (ids.size() < length) {
      // A few ids beyond the vocabulary, which are left out.
      const auto id = static_cast<int32_t>(random() % (static_cast<uint32_t>(tokenizer_->vocab_size()) + 3));
      // Byte tokens at random are rarely valid, and there streams differ from whole decoding by
      // design.
      if (!is_byte_token(*tokenizer_, id)) ids.push_back(id);
    }
    for (const bool skip : {false, true}) EXPECT_EQ(stream(ids, skip), tokenizer_->decode(ids, skip));
  }
}

TEST_P(TokenizerStream, HoldsEveryCharacterUntilItIsComplete) {
  const auto find_byte = [&](unsigned char byte) -> std::optional<int32_t> {
    char fallback[8];
    std::snprintf(fallback, sizeof(fallback), "<0x%02X>", byte);
    if (const auto id = tokenizer_->token_to_id(fallback)) return id;
    std::string in_alphabet;
    append_utf8(byte_to_char(byte), in_alphabet);
    return tokenizer_->token_to_id(in_alphabet);
  };
  if (!find_byte(0xFF)) GTEST_SKIP() << "has no byte tokens";
  for (char32_t c : {0x80, 0x7FF, 0x800, 0xFFFD, 0x10000, 0x1F642, 0x1F468, 0x200D, 0x10FFFF}) {
    std::string text;
    append_utf8(c, text);
    StreamDecoder decoder(*tokenizer_, true);
    for (size_t i = 0; i < text.size(); ++i) {
      const std::optional<int32_t> id = find_byte(static_cast<unsigned char>(text[i]));
      ASSERT_TRUE(id.has_value());
      EXPECT_EQ(decoder.append(*id), i + 1 == text.size() ? text : "");
    }
    EXPECT_EQ(decoder.finish(), "");
  }
  // A character that never becomes complete.
  StreamDecoder decoder(*tokenizer_, true);
  EXPECT_EQ(decoder.append(*find_byte(0xF0)), "");
  EXPECT_EQ(decoder.append(*find_byte(0x9F)), "");
  const std::string rest = decoder.finish();
  EXPECT_TRUE(rest == kReplacementCharacter || rest == "\xEF\xBF\xBD\xEF\xBF\xBD") << testing::PrintToString(rest);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizerStream,
                         testing::Values("gpt2", "llama3", "qwen2", "llama2", "mistral", "unk", "metaspace",
                                         "sentencepiece", "sentencepiece_t5", "sentencepiece_unigram", "bert_uncased",
                                         "bert_cased", "roberta", "t5"),
                         [](const auto& param) { return param.param; });

// Every way to cut text into two parts comes out the same, whole or with errors replaced.
TEST(Utf8Assembler, IsIndifferentToCuts) {
  const std::string text =
      "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82\xFFz\xE2\x82 \xF0\x9F\x98 "
      "\xED\xA0\x80\xC0\xAF\xF0\x9F";
  std::string expected;
  append_valid_utf8(text, expected);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    for (size_t second = cut; second <= text.size(); ++second) {
      Utf8Assembler assembler(Utf8Assembler::OnInvalid::kReplaceSubpart);
      std::string out;
      assembler.append(std::string_view(text).substr(0, cut), out);
      EXPECT_TRUE(is_valid_utf8(out));
      assembler.append(std::string_view(text).substr(cut, second - cut), out);
      EXPECT_TRUE(is_valid_utf8(out));
      assembler.append(std::string_view(text).substr(second), out);
      assembler.finish(out);
      EXPECT_EQ(out, expected) << cut << " " << second;
    }
  }
}

// In a stream, the characters of a run of byte tokens come out before the run turns out to be
// invalid.
TEST(StreamDecoder, KeepsCharactersBeforeAnInvalidByte) {
  const auto tokenizer = Tokenizer::load(data_dir() / "tokenizer" / "llama2");
  ASSERT_TRUE(tokenizer.ok());
  const std::vector<int32_t> ids = {*(*tokenizer)->token_to_id("<0xC3>"), *(*tokenizer)->token_to_id("<0xA9>"),
                                    *(*tokenizer)->token_to_id("<0xFF>")};
  StreamDecoder decoder(**tokenizer, true);
  EXPECT_EQ(decoder.append(ids[0]), "");
  EXPECT_EQ(decoder.append(ids[1]), "\xC3\xA9");
  EXPECT_EQ(decoder.append(ids[2]), kReplacementCharacter);
  EXPECT_EQ(decoder.finish(), "");
  EXPECT_EQ((*tokenizer)->decode(ids, true), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace cohort
