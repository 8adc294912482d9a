// What is asked of an encoder: /v1/embeddings, /v1/classify, /v1/score, /v1/rerank, /v1/fill-mask.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr const char* kModelDir = "configs/classifier";  // a tokenizer of WordPiece
constexpr int32_t kCls = 2;
constexpr int32_t kSep = 3;

OpenAiOptions options_of(HeadKind head, std::vector<std::string> labels = {}) {
  OpenAiOptions options = OpenAiTester::default_options();
  options.spec.head = head;
  options.spec.labels = std::move(labels);
  options.spec.hidden = 3;
  options.spec.num_token_types = 2;
  return options;
}

struct EncoderTester : OpenAiTester {
  explicit EncoderTester(const OpenAiOptions& options) : OpenAiTester(options, kModelDir) {
    engine.facts_.max_position = 16;
  }

  void send_encoding(size_t index, Encoding encoding) {
    EngineEvent event;
    event.finish = FinishReason::kStop;
    event.encoding = std::make_shared<const Encoding>(std::move(encoding));
    engine.send(index, event);
  }
  void send_embedding(size_t index, std::vector<float> embedding) {
    send_encoding(index, {.hidden_states = {}, .pooler_output = {}, .embedding = std::move(embedding), .logits = {}});
  }
  void send_logits(size_t index, std::vector<float> logits) {
    send_encoding(index, {.hidden_states = {}, .pooler_output = {}, .embedding = {}, .logits = std::move(logits)});
  }
  std::vector<int32_t> with_special(std::string_view text) const {
    std::vector<int32_t> all = ids(text);
    all.insert(all.begin(), kCls);
    all.push_back(kSep);
    return all;
  }
};

TEST(OpenAiEncodings, EmbeddingsInTheOrderOfTheirInputs) {
  EncoderTester tester(options_of(HeadKind::kNone));
  const auto answered = tester.post("/v1/embeddings", {{"model", "quickstart"}, {"input", {"and", "the king"}}});
  ASSERT_EQ(tester.engine.submitted.size(), 2u);
  const GenerationRequest& first = tester.engine.submitted[0].request;
  EXPECT_EQ(first.prompt, tester.with_special("and"));
  EXPECT_EQ(first.token_types, std::vector<int32_t>(first.prompt.size()));
  EXPECT_TRUE(first.encoding.embedding);
  EXPECT_FALSE(first.encoding.logits || first.encoding.hidden_states || first.encoding.pooler_output);
  tester.send_embedding(1, {4, 5, 6});
  EXPECT_EQ(answered->status, 0);
  tester.send_embedding(0, {1, -2.5, 0.1F});
  ASSERT_EQ(answered->status, 200);
  const json body = answered->json();
  EXPECT_EQ(body["object"], "list");
  EXPECT_EQ(body["model"], "quickstart");
  ASSERT_EQ(body["data"].size(), 2u);
  EXPECT_EQ(body["data"][0]["object"], "embedding");
  EXPECT_EQ(body["data"][0]["index"], 0);
  EXPECT_NE(answered->body.find("[1,-2.5,0.1]"), std::string::npos) << answered->body;
  EXPECT_EQ(body["data"][1]["embedding"], json({4.0, 5.0, 6.0}));
  const size_t num_tokens = first.prompt.size() + tester.engine.submitted[1].request.prompt.size();
  EXPECT_EQ(body["usage"]["prompt_tokens"], num_tokens);
  EXPECT_EQ(body["usage"]["total_tokens"], num_tokens);
}

TEST(OpenAiEncodings, EmbeddingsInBase64) {
  EncoderTester tester(options_of(HeadKind::kNone));
  const auto answered = tester.post("/v1/embeddings", {{"input", {5, 6}}, {"encoding_format", "base64"}});
  EXPECT_EQ(tester.engine.submitted[0].request.prompt, (std::vector<int32_t>{5, 6}));
  tester.send_embedding(0, {1, -2});
  EXPECT_EQ(answered->json()["data"][0]["embedding"], "AACAPwAAAMA=");  // 0000803f 000000c0
}

TEST(OpenAiEncodings, LongInputsAreRefusedOrCut) {
  EncoderTester tester(options_of(HeadKind::kNone));
  std::string text;
  for (int i = 0; i < 20; ++i) text += "and ";
  const auto refused = tester.post("/v1/embeddings", {{"input", {"and", text}}});
  expect_refused(*refused, "input[1]");
  EXPECT_EQ(refused->json()["error"]["type"], "context_length_exceeded");
  tester.post("/v1/embeddings", {{"input", text}, {"truncate_prompt_tokens", -1}});
  std::vector<int32_t> cut = tester.ids(text);
  cut.resize(14);
  cut.insert(cut.begin(), kCls);
  cut.push_back(kSep);
  EXPECT_EQ(tester.engine.submitted.at(0).request.prompt, cut);
  EXPECT_EQ(tester.engine.submitted.size(), 1u);
}

TEST(OpenAiEncodings, ProbabilitiesOfLabels) {
  EncoderTester tester(options_of(HeadKind::kSequenceLabels, {"no", "yes"}));
  const auto answered = tester.post("/v1/classify", {{"input", "and"}});
  EXPECT_TRUE(tester.engine.submitted[0].request.encoding.logits);
  tester.send_logits(0, {0, std::log(3.0F)});
  const json item = answered->json()["data"][0];
  EXPECT_EQ(item["label"], "yes");
  EXPECT_EQ(item["num_classes"], 2);
  EXPECT_NEAR(item["probs"][0].get<double>(), 0.25, 1e-6);
  EXPECT_NEAR(item["probs"][1].get<double>(), 0.75, 1e-6);
}

TEST(OpenAiEncodings, ProbabilitiesOfLabelsOfTokens) {
  EncoderTester tester(options_of(HeadKind::kTokenLabels, {"no", "yes"}));
  const auto answered = tester.post("/v1/classify", {{"input", "and"}});
  ASSERT_EQ(tester.engine.submitted[0].request.prompt.size(), 3u);
  tester.send_logits(0, {1, 0, 0, 1, 0, 0});
  const json tokens = answered->json()["data"][0]["tokens"];
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0]["token"], "[CLS]");
  EXPECT_EQ(tokens[0]["label"], "no");
  EXPECT_EQ(tokens[1]["token"], "and");
  EXPECT_EQ(tokens[1]["label"], "yes");
}

TEST(OpenAiEncodings, ScoresAreCosinesOfEmbeddings) {
  EncoderTester tester(options_of(HeadKind::kNone));
  const auto answered = tester.post("/v1/score", {{"text_1", "and"}, {"text_2", {"and", "the"}}});
  ASSERT_EQ(tester.engine.submitted.size(), 3u);
  tester.send_embedding(0, {1, 0, 0});
  tester.send_embedding(1, {2, 0, 0});
  tester.send_embedding(2, {3, 4, 0});
  const json data = answered->json()["data"];
  EXPECT_NEAR(data[0]["score"].get<double>(), 1, 1e-6);
  EXPECT_NEAR(data[1]["score"].get<double>(), 0.6, 1e-6);
  EXPECT_EQ(data[1]["object"], "score");
}

TEST(OpenAiEncodings, ACrossEncoderReadsBothTexts) {
  EncoderTester tester(options_of(HeadKind::kSequenceLabels, {"LABEL_0"}));
  const auto answered = tester.post("/v1/rerank", {{"query", "and"}, {"documents", {"the", "king"}}, {"top_n", 1}});
  ASSERT_EQ(tester.engine.submitted.size(), 2u);
  const GenerationRequest& request = tester.engine.submitted[0].request;
  EXPECT_EQ(request.prompt, (std::vector<int32_t>{kCls, tester.ids("and")[0], kSep, tester.ids("the")[0], kSep}));
  EXPECT_EQ(request.token_types, (std::vector<int32_t>{0, 0, 0, 1, 1}));
  tester.send_logits(0, {-1});
  tester.send_logits(1, {0});
  const json results = answered->json()["results"];
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0]["index"], 1);
  EXPECT_EQ(results[0]["document"]["text"], "king");
  EXPECT_EQ(results[0]["relevance_score"], 0.5);
}

TEST(OpenAiEncodings, APairLosesTokensOfTheLongerTextFirst) {
  EncoderTester tester(options_of(HeadKind::kSequenceLabels, {"LABEL_0"}));
  const auto words = [](std::string_view word, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text.append(word).append(" ");
    return text;
  };
  const json documents = {words("the", 3), words("the", 100), "king"};
  tester.post("/v1/rerank", {{"query", words("and", 50)}, {"documents", documents}, {"truncate_prompt_tokens", -1}});
  ASSERT_EQ(tester.engine.submitted.size(), 3u);
  const int32_t and_id = tester.ids("and")[0];
  const auto num_first = [&](size_t index) {
    const std::vector<int32_t>& prompt = tester.engine.submitted[index].request.prompt;
    EXPECT_EQ(prompt.size(), 16u);
    return std::count(prompt.begin(), prompt.end(), and_id);
  };
  EXPECT_EQ(num_first(0), 10);  // of 13 beside the special tokens
  EXPECT_EQ(num_first(1), 7);
  EXPECT_EQ(num_first(2), 12);
}

// One long text of many pairs is neither read nor kept as often as there are pairs, which would be 2 * 10^9 tokens.
TEST(OpenAiEncodings, ALongTextOfManyPairsIsRefused) {
  EncoderTester tester(options_of(HeadKind::kSequenceLabels, {"LABEL_0"}));
  std::string query;
  for (int i = 0; i < 1'000'000; ++i) query += "and ";
  const json documents(std::vector<std::string>(2000, "the"));
  const auto refused = tester.post("/v1/rerank", {{"query", query}, {"documents", documents}});
  expect_refused(*refused, "documents[0]");
  EXPECT_EQ(refused->json()["error"]["type"], "context_length_exceeded");
  EXPECT_NE(refused->body.find("1000004"), std::string::npos) << refused->body;  // tokens, with three special ones
}

TEST(OpenAiEncodings, LikeliestTokensForMasks) {
  EncoderTester tester(options_of(HeadKind::kMaskedToken));
  const int32_t mask = tester.tokenizer_->mask_id().value();
  const int32_t the = tester.ids("the")[0];
  const int32_t king = tester.ids("king")[0];
  const auto answered = tester.post("/v1/fill-mask", {{"input", {"and [MASK]", "[MASK] the [MASK]"}}, {"top_k", 2}});
  ASSERT_EQ(tester.engine.submitted.size(), 2u);
  const GenerationRequest& first = tester.engine.submitted[0].request;
  EXPECT_EQ(first.prompt, (std::vector<int32_t>{kCls, tester.ids("and")[0], mask, kSep}));
  EXPECT_TRUE(first.encoding.logits);
  EXPECT_EQ(first.encoding.logits_of, std::vector<int32_t>{2});
  EXPECT_EQ(tester.engine.submitted[1].request.encoding.logits_of, (std::vector<int32_t>{1, 3}));
  const auto vocab = static_cast<size_t>(tester.tokenizer_->vocab_size());
  const auto logits_of = [&](int32_t best, int32_t next) {  // of 0.75, 0.25 and nothing for others
    std::vector<float> logits(vocab, -100.0F);
    logits[static_cast<size_t>(best)] = std::log(3.0F);
    logits[static_cast<size_t>(next)] = 0;
    return logits;
  };
  tester.send_logits(0, logits_of(the, king));
  std::vector<float> both = logits_of(king, the);
  const std::vector<float> second = logits_of(the, mask);
  both.insert(both.end(), second.begin(), second.end());
  tester.send_logits(1, both);
  ASSERT_EQ(answered->status, 200) << answered->body;
  const json data = answered->json()["data"];
  const json masks = data[0]["masks"];
  ASSERT_EQ(masks.size(), 1u);
  EXPECT_EQ(masks[0]["position"], 2);
  ASSERT_EQ(masks[0]["predictions"].size(), 2u);
  EXPECT_NEAR(masks[0]["predictions"][0]["score"].get<double>(), 0.75, 1e-6);
  EXPECT_EQ(masks[0]["predictions"][0]["token"], the);
  EXPECT_EQ(masks[0]["predictions"][0]["token_str"], "the");
  EXPECT_EQ(masks[0]["predictions"][0]["sequence"], "and the");
  EXPECT_EQ(masks[0]["predictions"][1]["sequence"], "and king");
  EXPECT_EQ(data[1]["masks"][0]["predictions"][0]["sequence"], "[CLS] king the [MASK] [SEP]");
  EXPECT_EQ(data[1]["masks"][1]["predictions"][0]["sequence"], "[CLS] [MASK] the the [SEP]");
}

TEST(OpenAiEncodings, MasksThatCannotBeFilled) {
  EncoderTester tester(options_of(HeadKind::kMaskedToken));
  expect_refused(*tester.post("/v1/fill-mask", {{"input", {"[MASK]", "and the"}}}), "input[1]");
  expect_refused(*tester.post("/v1/fill-mask", {{"input", "[MASK]"}, {"top_k", 0}}), "top_k");
  std::string many;
  for (int i = 0; i < 13; ++i) many += "[MASK] ";
  expect_refused(*tester.post("/v1/fill-mask", {{"input", std::vector<std::string>(10, many)}}), "input");
  expect_refused(*tester.post("/v1/fill-mask", json::object()), "input");
  EXPECT_TRUE(tester.engine.submitted.empty());
  EncoderTester classifier(options_of(HeadKind::kSequenceLabels, {"no", "yes"}));
  expect_refused(*classifier.post("/v1/fill-mask", {{"input", "[MASK]"}}), "model");
}

// A mask has a score for every token, and each prediction the text that it makes: their numbers are bounded.
TEST(OpenAiEncodings, WhatMasksTakeIsBounded) {
  EncoderTester tester(options_of(HeadKind::kMaskedToken));
  tester.engine.facts_.vocab = 250'000;
  expect_refused(*tester.post("/v1/fill-mask", {{"input", std::vector<std::string>(17, "[MASK]")}}), "input");
  expect_refused(*tester.post("/v1/fill-mask", {{"input", "[MASK]"}, {"top_k", 2049}}), "top_k");
  expect_refused(*tester.post("/v1/fill-mask", {{"input", "[MASK] [MASK]"}, {"top_k", 1'000'000'000}}), "top_k");
  EXPECT_TRUE(tester.engine.submitted.empty());
  EXPECT_EQ(tester.post("/v1/fill-mask", {{"input", "[MASK]"}, {"top_k", 2048}})->status, 0);
}

TEST(OpenAiEncodings, MasksBeyondWhatTheEngineLinkCarriesWait) {
  EncoderTester tester(options_of(HeadKind::kMaskedToken));
  tester.engine.facts_.vocab = 250'000;
  const json body = {{"input", std::vector<std::string>(16, "[MASK]")}};
  std::vector<std::shared_ptr<Answered>> answers;
  for (int i = 0; i < 8; ++i) answers.push_back(tester.post("/v1/fill-mask", body));
  for (const auto& answered : answers) EXPECT_EQ(answered->status, 0) << answered->body;
  const auto refused = tester.post("/v1/fill-mask", body);
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->headers["Retry-After"], "1");
  EXPECT_EQ(tester.engine.submitted.size(), 8u * 16);
  answers.front()->go();  // and makes room for another
  EXPECT_EQ(tester.post("/v1/fill-mask", body)->status, 0);
  EXPECT_EQ(tester.post("/v1/fill-mask", body)->status, 429);
}

TEST(OpenAiEncodings, FailuresOfOneFailAll) {
  EncoderTester tester(options_of(HeadKind::kNone));
  const auto answered = tester.post("/v1/embeddings", {{"input", {"and", "the"}}});
  tester.engine.send_status(1, Status(StatusCode::kResourceExhausted, "the queue is full"));
  EXPECT_EQ(answered->status, 429);
  EXPECT_TRUE(tester.engine.submitted[0].is_cancelled);
}

TEST(OpenAiEncodings, WhatTheModelDoesNotIsRefused) {
  EncoderTester encoder(options_of(HeadKind::kNone));
  expect_refused(*encoder.post("/v1/classify", {{"input", "and"}}), "model");
  expect_refused(*encoder.post("/v1/completions", {{"prompt", "and"}}), "model");
  EncoderTester classifier(options_of(HeadKind::kSequenceLabels, {"no", "yes"}));
  expect_refused(*classifier.post("/v1/score", {{"text_1", "and"}, {"text_2", "the"}}), "model");
  for (const auto& [body, field] :
       std::vector<std::pair<json, std::string>>{{json::object(), "input"},
                                                 {{{"input", ""}}, "input"},
                                                 {{{"input", json::array()}}, "input"},
                                                 {{{"input", {"and", ""}}}, "input[1]"},
                                                 {{{"input", {1, "and"}}}, "input[1]"},
                                                 {{{"input", {4096}}}, "input[0]"},
                                                 {{{"input", "and"}, {"encoding_format", "int8"}}, "encoding_format"},
                                                 {{{"input", "and"}, {"dimensions", 2}}, "dimensions"},
                                                 {{{"input", "and"}, {"model", 1}}, "model"}}) {
    expect_refused(*encoder.post("/v1/embeddings", body), field);
  }
  expect_refused(*encoder.post("/v1/score", {{"text_1", "and"}}), "text_2");
  expect_refused(*encoder.post("/v1/rerank", {{"query", "and"}}), "documents");
  EXPECT_TRUE(encoder.engine.submitted.empty());
}

}  // namespace
}  // namespace cohort
