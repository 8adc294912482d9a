// Encoding and decoding against what Hugging Face `tokenizers` and `sentencepiece` yield
// (tests/tokenizer/make_golden.py).
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"
#include "tests/files.h"

namespace cohort {
namespace {

using test::data_dir;
using test::read_file;

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::string fnv1a64(const std::vector<int32_t>& ids) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3u;
    }
  }
  char text[17];
  std::snprintf(text, sizeof(text), "%016lx", static_cast<unsigned long>(hash));
  return text;
}

class TokenizerGolden : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::filesystem::path dir = data_dir() / "tokenizer" / GetParam();
    auto tokenizer = Tokenizer::load(dir);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = *std::move(tokenizer);
    golden_ = nlohmann::json::parse(read_file(dir / "golden.json"));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json golden_;
};

TEST_P(TokenizerGolden, ShortTexts) {
  for (const nlohmann::json& golden : golden_["texts"]) {
    const auto text = golden["text"].get<std::string>();
    const auto expected = golden["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer_->encode(text), expected) << testing::PrintToString(text);
    EXPECT_EQ(tokenizer_->decode(expected, true), golden["decoded_plain"]) << testing::PrintToString(text);
    if (!golden.contains("parsed_ids")) continue;
    const auto parsed = golden["parsed_ids"].get<std::vector<int32_t>>();
    const Tokenizer::EncodeOptions options{.add_special_tokens = false, .parse_special = true};
    EXPECT_EQ(tokenizer_->encode(text, options), parsed) << testing::PrintToString(text);
    EXPECT_EQ(tokenizer_->decode(parsed, false), golden["decoded"]) << testing::PrintToString(text);
  }
}

TEST_P(TokenizerGolden, Pairs) {
  if (!golden_.contains("pairs")) GTEST_SKIP() << "has no pairs";
  for (const nlohmann::json& golden : golden_["pairs"]) {
    const auto first = golden["first"].get<std::string>();
    const auto second = golden["second"].get<std::string>();
    const Tokenizer::Encoding pair = tokenizer_->encode_pair(first, second);
    EXPECT_EQ(pair.ids, golden["ids"].get<std::vector<int32_t>>()) << first << " | " << second;
    EXPECT_EQ(pair.type_ids, golden["type_ids"].get<std::vector<int32_t>>()) << first << " | " << second;
  }
}

TEST_P(TokenizerGolden, AssemblesWhatWasEncodedWithoutSpecialTokens) {
  for (const nlohmann::json& golden : golden_["texts"]) {
    const auto text = golden["text"].get<std::string>();
    const Tokenizer::Encoding whole = tokenizer_->assemble(tokenizer_->encode(text, {.add_special_tokens = false}));
    EXPECT_EQ(whole.ids, golden["ids"].get<std::vector<int32_t>>()) << testing::PrintToString(text);
    EXPECT_EQ(whole.type_ids, std::vector<int32_t>(whole.ids.size(), 0));
  }
}

TEST_P(TokenizerGolden, BytesThatAreNotUtf8) {
  for (const nlohmann::json& golden : golden_["errors"]) {
    const auto hex = golden["hex"].get<std::string>();
    EXPECT_EQ(tokenizer_->encode(from_hex(hex)), golden["ids"].get<std::vector<int32_t>>()) << hex;
  }
}

TEST_P(TokenizerGolden, FifteenLanguages) {
  ASSERT_EQ(golden_["udhr"].size(), 15u);
  for (const auto& language : golden_["udhr"].items()) {
    const std::string text = read_file(data_dir() / "udhr" / (language.key() + ".txt"));
    ASSERT_FALSE(text.empty());
    const std::vector<int32_t> ids = tokenizer_->encode(text);
    const nlohmann::json& golden = language.value();
    const std::vector<int32_t> first(ids.begin(), ids.begin() + std::min<std::ptrdiff_t>(32, std::ssize(ids)));
    EXPECT_EQ(first, golden["first"].get<std::vector<int32_t>>()) << language.key();
    EXPECT_EQ(ids.size(), golden["count"]) << language.key();
    EXPECT_EQ(fnv1a64(ids), golden["fnv1a64"]) << language.key();
  }
}

TEST_P(TokenizerGolden, Vocabulary) {
  EXPECT_EQ(tokenizer_->vocab_size(), golden_["vocab_size"]);
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string token = tokenizer_->id_to_token(id);
    ASSERT_FALSE(token.empty()) << id;
    EXPECT_EQ(tokenizer_->token_to_id(token), id) << token;
  }
  EXPECT_EQ(tokenizer_->id_to_token(-1), "");
  EXPECT_EQ(tokenizer_->id_to_token(tokenizer_->vocab_size()), "");
  const std::vector<int32_t> unknown_ids = {-1, tokenizer_->vocab_size(), INT32_MAX, INT32_MIN};
  EXPECT_EQ(tokenizer_->decode(unknown_ids, false), "");
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizerGolden,
                         testing::Values("gpt2", "llama3", "qwen2", "llama2", "mistral", "unk", "metaspace",
                                         "sentencepiece", "sentencepiece_t5", "sentencepiece_unigram", "bert_uncased",
                                         "bert_cased", "roberta", "t5"),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace cohort
