// Checkpoints without a tokenizer.json: their older files yield the tokenizer that the tokenizer.json describes.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/tokenizer/sentencepiece_model.h"
#include "runtime/tokenizer/sentencepiece_unigram.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/files.h"

namespace cohort {
namespace {

using Json = nlohmann::json;

using test::read_file;
using test::write_file;

const std::filesystem::path kTokenizers = test::data_dir() / "tokenizer";

class TokenizerFiles : public testing::Test {
 protected:
  void write(const char* name, const std::string& text) const { write_file(dir_ / name, text); }

  std::unique_ptr<Tokenizer> load() const {
    auto tokenizer = Tokenizer::load(dir_.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  }

  std::string error() const {
    const auto tokenizer = Tokenizer::load(dir_.path());
    EXPECT_FALSE(tokenizer.ok());
    const std::string& message = tokenizer.status().message();
    return message.starts_with(dir_.path().string()) ? message.substr(dir_.path().string().size()) : message;
  }

  // vocab.txt of a tokenizer.json: its tokens by id.
  static std::string vocab_txt(const Json& document) {
    std::map<int, std::string> by_id;
    for (const auto& [token, id] : document["model"]["vocab"].items()) by_id[id.get<int>()] = token;
    std::string text;
    for (const auto& [id, token] : by_id) text += token + "\n";
    return text;
  }

  const test::TemporaryDirectory dir_;
};

// The texts of a golden file without those that have tokens which only the tokenizer.json adds.
std::vector<std::string> plain_texts(const std::string& name) {
  const Json golden = Json::parse(read_file(kTokenizers / name / "golden.json"));
  std::vector<std::string> texts;
  for (const Json& row : golden["texts"]) {
    auto text = row["text"].get<std::string>();
    const bool has_added = text.find("tool") != text.npos || text.find("cohort") != text.npos ||
                           text.find("code") != text.npos || text.find("<") != text.npos;
    if (!has_added) texts.push_back(std::move(text));
  }
  EXPECT_GT(texts.size(), 50u);
  return texts;
}

void expect_equal(const Tokenizer& got, const Tokenizer& expected, const std::string& name) {
  for (const std::string& text : plain_texts(name)) {
    const std::vector<int32_t> ids = expected.encode(text);
    EXPECT_EQ(got.encode(text), ids) << testing::PrintToString(text);
    EXPECT_EQ(got.decode(ids, true), expected.decode(ids, true)) << testing::PrintToString(text);
    const auto [pair_ids, type_ids] = expected.encode_pair(text, "second text");
    EXPECT_EQ(got.encode_pair(text, "second text").ids, pair_ids);
    EXPECT_EQ(got.encode_pair(text, "second text").type_ids, type_ids);
  }
}

TEST_F(TokenizerFiles, ReadsTheVocabTxtOfBert) {
  const Json document = Json::parse(read_file(kTokenizers / "bert_uncased" / "tokenizer.json"));
  write("vocab.txt", vocab_txt(document));
  const auto expected = Tokenizer::load(kTokenizers / "bert_uncased");
  ASSERT_TRUE(expected.ok());
  const auto without_config = load();
  expect_equal(*without_config, **expected, "bert_uncased");
  EXPECT_EQ(without_config->mask_id(), std::nullopt);
  write("tokenizer_config.json", R"({"tokenizer_class": "DistilBertTokenizerFast", "mask_token": "[MASK]"})");
  const auto tokenizer = load();
  expect_equal(*tokenizer, **expected, "bert_uncased");
  EXPECT_EQ(tokenizer->mask_id(), tokenizer->token_to_id("[MASK]"));
  EXPECT_TRUE(tokenizer->is_special(*tokenizer->mask_id()));
  const std::vector<int32_t> ids = tokenizer->encode("a [MASK]", {.add_special_tokens = false, .parse_special = true});
  EXPECT_EQ(ids, (std::vector<int32_t>{*tokenizer->token_to_id("a"), *tokenizer->mask_id()}));
}

TEST_F(TokenizerFiles, HeedsTheConfigOfBert) {
  write("vocab.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\xC3\xA9\r\ne\r\nE\r\n##\xE4\xBA\xBA\r\n\xE4\xBA\xBA\r\n");
  const auto encode = [&](const char* config, const char* text) {
    write("tokenizer_config.json", config);
    return load()->encode(text, {.add_special_tokens = false});
  };
  EXPECT_EQ(encode("{}", "\xC3\x89 E"), (std::vector<int32_t>{5, 5}));
  EXPECT_EQ(encode(R"({"strip_accents": false})", "\xC3\x89 E"), (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(encode(R"({"do_lower_case": false})", "\xC3\xA9 E"), (std::vector<int32_t>{4, 6}));
  EXPECT_EQ(encode(R"({"do_lower_case": false, "strip_accents": true})", "\xC3\xA9 E"), (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(encode("{}", "e\xE4\xBA\xBA"), (std::vector<int32_t>{5, 8}));
  EXPECT_EQ(encode(R"({"tokenize_chinese_chars": false})", "e\xE4\xBA\xBA"), (std::vector<int32_t>{5, 7}));
}

TEST_F(TokenizerFiles, NamesWhatIsWrongWithTheVocabTxt) {
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n");
  EXPECT_EQ(error(), ": tokenizer_config.json: sep_token \"[SEP]\" is not in the vocabulary");
  write("tokenizer_config.json", R"({"tokenizer_class": "MPNetTokenizer"})");
  EXPECT_EQ(
      error(),
      ": tokenizer_config.json: tokenizer_class \"MPNetTokenizer\" is not known for these files; known: BertTokenizer, "
      "DistilBertTokenizer");
  write("tokenizer_config.json", R"({"sep_token": "[CLS]", "do_lower_case": 3})");
  EXPECT_EQ(error(), ": vocab.txt: normalizer.lowercase: expected true or false, got number");
  write("tokenizer_config.json", "[]");
  EXPECT_EQ(error(), ": tokenizer_config.json: expected an object");
  write("vocab.txt", "\xFF");
  std::filesystem::remove(dir_ / "tokenizer_config.json");
  EXPECT_EQ(error(), ": vocab.txt: not valid UTF-8");
}

TEST_F(TokenizerFiles, ReadsTheMergesTxtOfRobertaAndGpt2) {
  for (const std::string name : {"roberta", "gpt2"}) {
    const Json document = Json::parse(read_file(kTokenizers / name / "tokenizer.json"));
    write("vocab.json", document["model"]["vocab"].dump());
    std::string merges = "#version: 0.2\n";
    for (const Json& merge : document["model"]["merges"]) {
      merges += merge.is_string() ? merge.get<std::string>()
                                  : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
      merges += "\n";
    }
    write("merges.txt", merges);
    write("tokenizer_config.json", name == "roberta"
                                       ? R"({"tokenizer_class": "RobertaTokenizer", "add_prefix_space": true})"
                                       : R"({"tokenizer_class": "GPT2TokenizerFast"})");
    const auto expected = Tokenizer::load(kTokenizers / name);
    ASSERT_TRUE(expected.ok());
    expect_equal(*load(), **expected, name);
  }
  // As OPT.
  write("tokenizer_config.json",
        R"({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "bos_token": {"content": "<|endoftext|>"}})");
  const auto tokenizer = load();
  const std::vector<int32_t> ids = tokenizer->encode("the");
  ASSERT_FALSE(ids.empty());
  EXPECT_EQ(ids[0], tokenizer->token_to_id("<|endoftext|>"));
  EXPECT_EQ(tokenizer->encode_pair("", "").ids, std::vector<int32_t>(2, ids[0]));
  write("tokenizer_config.json", R"({"tokenizer_class": "CLIPTokenizer"})");
  EXPECT_EQ(
      error(),
      ": tokenizer_config.json: tokenizer_class \"CLIPTokenizer\" is not known for these files; known: GPT2Tokenizer, "
      "RobertaTokenizer, BartTokenizer");
}

TEST_F(TokenizerFiles, ReadsTheSpieceModelOfT5) {
  std::filesystem::copy(kTokenizers / "sentencepiece_unigram" / "tokenizer.model", dir_ / "spiece.model");
  write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 3, "eos_token": "</s>"})");
  const auto tokenizer = load();
  const auto pieces = Tokenizer::load(kTokenizers / "sentencepiece_unigram");
  ASSERT_TRUE(pieces.ok());
  const std::string text = "All human beings are born free";
  EXPECT_EQ(tokenizer->encode(text), (*pieces)->encode(text));
  EXPECT_EQ(tokenizer->encode(text).back(), tokenizer->eos_id());
  const int32_t num_pieces = (*pieces)->vocab_size();
  EXPECT_EQ(tokenizer->vocab_size(), num_pieces + 3);
  EXPECT_EQ(tokenizer->token_to_id("<extra_id_0>"), num_pieces + 2);
  EXPECT_EQ(tokenizer->token_to_id("<extra_id_2>"), num_pieces);
  EXPECT_TRUE(tokenizer->is_special(num_pieces));
  EXPECT_EQ(tokenizer->encode("<extra_id_1>", {.add_special_tokens = false, .parse_special = true}),
            std::vector<int32_t>{num_pieces + 1});
  const Tokenizer::Encoding pair = tokenizer->encode_pair("a", "b");
  EXPECT_EQ(std::count(pair.ids.begin(), pair.ids.end(), *tokenizer->eos_id()), 2);
  EXPECT_EQ(pair.type_ids, std::vector<int32_t>(pair.ids.size(), 0));
  write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 100000})");
  EXPECT_EQ(load()->vocab_size(), num_pieces + 100'000);
  write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": -1})");
  EXPECT_EQ(error(), ": tokenizer_config.json: extra_ids: -1 is out of range");
}

void append_u32(uint32_t value, std::string& out) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xFF);
}

// A map that replaces the byte 0xC3, which begins characters and is none, by "x".
std::string charsmap_of_half_a_character() {
  constexpr uint32_t kHasLeaf = 1 << 8;
  constexpr uint32_t kOffsetOne = 1 << 10;
  std::vector<uint32_t> units(0xC4, 0);
  units[0xC3] = 0xC3 | kHasLeaf | kOffsetOne;  // its leaf, units[0xC2], says that the replacement is the first
  std::string bytes;
  append_u32(static_cast<uint32_t>(4 * units.size()), bytes);
  for (const uint32_t unit : units) append_u32(unit, bytes);
  return bytes + std::string("x\0", 2);
}

TEST(SentencePieceUnigramTest, ReplacesWholeCharactersOnly) {
  SentencePieceModel model;
  model.pieces = {{"<unk>", 0, SentencePieceModel::kUnknown},
                  {"x", -1, SentencePieceModel::kNormal},
                  {"\xC3\xA9", -1, SentencePieceModel::kNormal},
                  {"a", -1, SentencePieceModel::kNormal}};
  model.charsmap = charsmap_of_half_a_character();
  model.add_dummy_prefix = false;
  const auto unigram = SentencePieceUnigram::create(model);
  ASSERT_NE(unigram, nullptr);
  std::vector<int32_t> ids;
  unigram->encode("a\xC3\xA9", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{3, 2}));
}

TEST(SentencePieceModelTest, FieldsOfOtherTypesAreUnknown) {
  const std::string piece("\x0A\x03\x0A\x01z", 5);
  const std::string piece_as_number("\x08\x01", 2);
  const auto model = parse_sentencepiece_model(piece_as_number + piece);
  ASSERT_TRUE(model.ok());
  ASSERT_EQ(model->pieces.size(), 1u);
  EXPECT_EQ(model->pieces[0].text, "z");
}

}  // namespace
}  // namespace cohort
