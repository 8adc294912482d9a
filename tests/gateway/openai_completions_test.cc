// POST /v1/completions and /v1/chat/completions, from a request to its answer, whole and streamed.
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

TEST(OpenAiCompletions, AnswersWhole) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"model", "quickstart"}, {"prompt", "Once"}});
  ASSERT_EQ(tester.engine.submitted.size(), 1u);
  const GenerationRequest& request = tester.engine.submitted[0].request;
  EXPECT_EQ(request.prompt, tester.tokenizer_->encode("Once"));
  EXPECT_EQ(request.max_tokens, 16);
  EXPECT_EQ(request.stop_ids, std::vector<int32_t>{1});
  EXPECT_EQ(request.tenant, "someone");
  EXPECT_EQ(request.name, "request-1");
  EXPECT_EQ(request.sampling.temperature, 1);
  EXPECT_FALSE(request.logprob);
  EXPECT_EQ(tester.api->service.num_active(), 1);
  EXPECT_EQ(answered->status, 0);

  tester.reply(0, " upon a time");
  EXPECT_EQ(answered->status, 200);
  EXPECT_EQ(answered->content_type, "application/json");
  const json body = answered->json();
  EXPECT_EQ(body["id"], "cmpl-request-1");
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_GT(body["created"].get<int64_t>(), 1'700'000'000);
  EXPECT_EQ(body["model"], "quickstart");
  EXPECT_EQ(body["system_fingerprint"], nullptr);
  ASSERT_EQ(body["choices"].size(), 1u);
  EXPECT_EQ(body["choices"][0], json({{"index", 0},
                                      {"text", " upon a time"},
                                      {"logprobs", nullptr},
                                      {"finish_reason", "length"},
                                      {"stop_reason", nullptr}}));
  const auto num_prompt = static_cast<int64_t>(request.prompt.size());
  const auto num_output = static_cast<int64_t>(tester.ids(" upon a time").size());
  EXPECT_EQ(body["usage"], json({{"prompt_tokens", num_prompt},
                                 {"completion_tokens", num_output},
                                 {"total_tokens", num_prompt + num_output},
                                 {"prompt_tokens_details", {{"cached_tokens", 0}}}}));
  EXPECT_EQ(tester.api->service.num_active(), 0);
}

TEST(OpenAiCompletions, Streams) {
  OpenAiTester tester;
  const auto answered = tester.post(
      "/v1/completions",
      {{"prompt", "Once"}, {"stream", true}, {"stream_options", {{"include_usage", true}}}, {"max_tokens", 20}});
  EXPECT_EQ(tester.engine.submitted[0].request.max_tokens, 20);
  EXPECT_EQ(answered->status, 0);  // until there is a token
  std::vector<int32_t> ids = tester.ids(" upon a time");
  ids.push_back(1);  // <|end_of_text|>, which is counted and not shown
  tester.engine.send_tokens(0, ids, FinishReason::kStop);
  EXPECT_EQ(answered->content_type, "text/event-stream");
  const auto events = answered->events();
  ASSERT_EQ(events.size(), ids.size() + 1);
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(events[i]["id"], "cmpl-request-1");
    EXPECT_EQ(events[i]["object"], "text_completion");
    EXPECT_FALSE(events[i].contains("usage"));
    text += events[i]["choices"][0]["text"].get<std::string>();
    EXPECT_EQ(events[i]["choices"][0]["finish_reason"], i + 1 == ids.size() ? json("stop") : json());
  }
  EXPECT_EQ(text, " upon a time");
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], ids.size());
}

TEST(OpenAiCompletions, OfAChat) {
  OpenAiTester tester;
  const json messages = json::array({{{"role", "user"}, {"content", "hello"}}});
  const auto answered =
      tester.post("/v1/chat/completions", {{"messages", messages}, {"max_completion_tokens", 30}, {"max_tokens", 3}});
  EXPECT_EQ(tester.engine.submitted[0].request.max_tokens, 30);
  tester.reply(0, "Good day", FinishReason::kLength);
  const json body = answered->json();
  EXPECT_EQ(body["id"], "chatcmpl-request-1");
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["choices"],
            json::array({{{"index", 0},
                          {"message", {{"role", "assistant"}, {"content", "Good day"}, {"refusal", nullptr}}},
                          {"logprobs", nullptr},
                          {"finish_reason", "length"},
                          {"stop_reason", nullptr}}}));
}

TEST(OpenAiCompletions, FieldsReachTheEngine) {
  OpenAiOptions options = OpenAiTester::default_options();
  options.generation = {.eos_ids = {1, 2},
                        .do_sample = true,
                        .temperature = 0.6F,
                        .top_k = 20,
                        .top_p = 0.9F,
                        .repetition_penalty = 1.1F};
  OpenAiTester tester(options);
  tester.post("/v1/completions", {{"prompt", {5, 6, 7}}});
  GenerationRequest request = tester.engine.submitted[0].request;
  EXPECT_EQ(request.prompt, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(request.stop_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(request.sampling.temperature, 0.6F);
  EXPECT_EQ(request.sampling.top_k, 20);
  EXPECT_EQ(request.sampling.top_p, 0.9F);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.1F);

  tester.post("/v1/completions", {{"prompt", {5}},
                                  {"max_tokens", 100.0},
                                  {"min_tokens", 3},
                                  {"temperature", 0},
                                  {"top_k", -1},
                                  {"top_p", 1},
                                  {"min_p", 0.25},
                                  {"repetition_penalty", 1.5},
                                  {"presence_penalty", -0.5},
                                  {"frequency_penalty", 2},
                                  {"seed", -3},
                                  {"logit_bias", {{"7", -100}, {"8", 1.5}}},
                                  {"bad_words", {"a"}},
                                  {"priority", -4},
                                  {"cache_salt", "salt"},
                                  {"logprobs", 3}});
  request = tester.engine.submitted[1].request;
  EXPECT_EQ(request.max_tokens, 100);
  EXPECT_EQ(request.min_tokens, 3);
  EXPECT_EQ(request.sampling.temperature, 0);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.min_p, 0.25F);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(request.sampling.presence_penalty, -0.5F);
  EXPECT_EQ(request.sampling.frequency_penalty, 2);
  EXPECT_EQ(request.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(request.priority, -4);
  EXPECT_EQ(request.cache_salt, "salt");
  EXPECT_TRUE(request.logprob);
  EXPECT_EQ(request.top_logprobs, 3);
  std::map<int32_t, float> biases(request.sampling.logit_bias.begin(), request.sampling.logit_bias.end());
  EXPECT_EQ(biases.at(7), -100);
  EXPECT_EQ(biases.at(8), 1.5F);
  EXPECT_LT(biases.at(tester.ids("a").at(0)), -1000);
  EXPECT_LT(biases.at(tester.ids(" a").at(0)), -1000);
  EXPECT_EQ(biases.size(), 4u);
}

TEST(OpenAiCompletions, OnlyAllowedTokens) {
  OpenAiOptions options = OpenAiTester::default_options();
  OpenAiTester tester(options);
  const int32_t a = tester.ids("a").at(0);
  tester.post("/v1/completions", {{"prompt", "x"},
                                  {"allowed_token_ids", {10, 11, a}},
                                  {"bad_words", {"a"}},
                                  {"logit_bias", {{"10", 2}, {"12", 3}}}});
  const auto& biases = tester.engine.submitted.at(0).request.sampling.logit_bias;
  ASSERT_EQ(biases.size(), 2u);
  EXPECT_EQ(biases[0].first, 10);
  EXPECT_EQ(biases[1].first, 11);
  EXPECT_EQ(biases[0].second - biases[1].second, 2);
  EXPECT_GE(biases[1].second, 1000);
  expect_refused(*tester.post("/v1/completions", {{"prompt", "x"}, {"allowed_token_ids", {a}}, {"bad_words", {"a"}}}),
                 "allowed_token_ids");
}

TEST(OpenAiCompletions, SeedsDifferUnlessTheyAreGiven) {
  OpenAiTester tester;
  for (int i = 0; i < 2; ++i) tester.post("/v1/completions", {{"prompt", "x"}});
  EXPECT_NE(tester.engine.submitted[0].request.sampling.seed, tester.engine.submitted[1].request.sampling.seed);
  for (int i = 0; i < 2; ++i) tester.post("/v1/completions", {{"prompt", "x"}, {"seed", 5}});
  EXPECT_EQ(tester.engine.submitted[2].request.sampling.seed, 5u);
  EXPECT_EQ(tester.engine.submitted[3].request.sampling.seed, 5u);
}

TEST(OpenAiCompletions, SeveralPromptsAndChoices) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", {"one", "two"}}, {"n", 2}, {"echo", true}});
  ASSERT_EQ(tester.engine.submitted.size(), 4u);
  const char* replies[] = {" a", " b", " c", " d"};
  for (const size_t i : {3u, 0u, 2u, 1u}) tester.reply(i, replies[i]);
  const json choices = answered->json()["choices"];
  const char* expected[] = {"one a", "one b", "two c", "two d"};
  ASSERT_EQ(choices.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choices[i]["index"], i);
    EXPECT_EQ(choices[i]["text"], expected[i]);
  }
  EXPECT_EQ(answered->json()["usage"]["prompt_tokens"],
            tester.engine.submitted[0].request.prompt.size() + tester.engine.submitted[2].request.prompt.size());
  EXPECT_EQ(answered->json()["usage"]["completion_tokens"], 4);
}

TEST(OpenAiCompletions, EchoInAStream) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", {5, 6}}, {"echo", true}, {"stream", true}});
  tester.reply(0, " a b");
  std::string text;
  for (const json& event : answered->events()) text += event["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(text, tester.tokenizer_->decode(std::vector<int32_t>{5, 6}, true) + " a b");
}

TEST(OpenAiCompletions, TheBestOfSeveral) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", "x"}, {"best_of", 3}, {"n", 2}});
  ASSERT_EQ(tester.engine.submitted.size(), 3u);
  const float logprobs[] = {-2, -0.5F, -1};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(tester.engine.submitted[i].request.logprob);
    EngineEvent event;
    event.token = tester.ids(std::string(1, static_cast<char>('a' + i))).at(0);
    event.logprob = logprobs[i];
    tester.engine.send(i, event);
    event.finish = FinishReason::kLength;
    tester.engine.send(i, event);
  }
  const json body = answered->json();
  ASSERT_EQ(body["choices"].size(), 2u);
  EXPECT_EQ(body["choices"][0]["text"], "bb");
  EXPECT_EQ(body["choices"][0]["index"], 0);
  EXPECT_EQ(body["choices"][1]["text"], "cc");
  EXPECT_EQ(body["choices"][1]["index"], 1);
  EXPECT_EQ(body["choices"][0]["logprobs"], nullptr);
  EXPECT_EQ(body["usage"]["completion_tokens"], 6);
}

TEST(OpenAiCompletions, CachedTokensAreTold) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", {5, 6, 7, 8}}});
  EngineEvent event;
  event.token = 100;
  event.num_cached_tokens = 3;
  tester.engine.send(0, event);
  event.num_cached_tokens = 0;
  event.finish = FinishReason::kLength;
  tester.engine.send(0, event);
  EXPECT_EQ(answered->json()["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
}

TEST(OpenAiCompletions, PromptsAreTruncatedInFront) {
  OpenAiTester tester;
  tester.post("/v1/completions", {{"prompt", {5, 6, 7, 8}}, {"truncate_prompt_tokens", 2}});
  EXPECT_EQ(tester.engine.submitted[0].request.prompt, (std::vector<int32_t>{7, 8}));
  tester.post("/v1/completions", {{"prompt", json(3000, 9)}, {"truncate_prompt_tokens", -1}, {"max_tokens", 48}});
  EXPECT_EQ(tester.engine.submitted[1].request.prompt.size(), 2000u);
}

// A client that applies the chat template itself means the control tokens that it writes; one beginning is enough.
TEST(OpenAiCompletions, PromptsMayHaveControlTokens) {
  OpenAiTester tester;
  tester.post("/v1/completions", {{"prompt", "<|begin_of_text|>a<|end_of_text|>"}});
  const auto& prompt = tester.engine.submitted[0].request.prompt;
  EXPECT_EQ(prompt, (std::vector<int32_t>{0, tester.ids("a").at(0), 1}));
  tester.post("/v1/completions", {{"prompt", "a"}, {"add_special_tokens", false}});
  EXPECT_EQ(tester.engine.submitted[1].request.prompt, tester.ids("a"));
}

EngineEvent with_logprobs(int32_t token, float logprob, std::vector<TokenLogprob> top) {
  EngineEvent event;
  event.token = token;
  event.logprob = logprob;
  event.top_logprobs = std::move(top);
  return event;
}

// "a", " b" and the first byte of a character, with the most probable token beside each.
void send_logprobs(OpenAiTester& tester) {
  const int32_t a = tester.ids("a").at(0);
  const int32_t b = tester.ids(" b").at(0);
  const int32_t part = tester.ids("\xF0\x9F\x98\x80").at(0);
  tester.engine.send(0, with_logprobs(a, -0.25F, {{a, -0.25F}}));
  tester.engine.send(0, with_logprobs(b, -2, {{a, -0.5F}}));
  EngineEvent last = with_logprobs(part, -std::numeric_limits<float>::infinity(), {{part, -1}});
  last.finish = FinishReason::kLength;
  tester.engine.send(0, last);
}

TEST(OpenAiCompletions, LogprobsOfCompletions) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", "x"}, {"logprobs", 1}});
  send_logprobs(tester);
  const json logprobs = answered->json()["choices"][0]["logprobs"];
  const std::string part = logprobs["tokens"][2];
  EXPECT_TRUE(part.starts_with("bytes:\\xf0")) << part;
  EXPECT_EQ(logprobs["tokens"], json({"a", " b", part}));
  EXPECT_EQ(logprobs["text_offset"], json({0, 1, 3}));
  EXPECT_EQ(logprobs["token_logprobs"], json({-0.25, -2.0, -9999.0}));
  EXPECT_EQ(logprobs["top_logprobs"], json({{{"a", -0.25}}, {{"a", -0.5}, {" b", -2.0}}, {{part, -1.0}}}));
}

TEST(OpenAiCompletions, LogprobsOfStreamedCompletions) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", "x"}, {"logprobs", 0}, {"stream", true}});
  send_logprobs(tester);
  json offsets = json::array();
  json tokens = json::array();
  for (const json& event : answered->events()) {
    const json& logprobs = event["choices"][0]["logprobs"];
    offsets.insert(offsets.end(), logprobs["text_offset"].begin(), logprobs["text_offset"].end());
    tokens.insert(tokens.end(), logprobs["tokens"].begin(), logprobs["tokens"].end());
  }
  EXPECT_EQ(offsets, json({0, 1, 3}));
  EXPECT_EQ(tokens.size(), 3u);
}

TEST(OpenAiCompletions, LogprobsOfChats) {
  OpenAiTester tester;
  const json messages = json::array({{{"role", "user"}, {"content", "hello"}}});
  for (const bool is_stream : {false, true}) {
    tester.engine.submitted.clear();
    const auto answered =
        tester.post("/v1/chat/completions",
                    {{"messages", messages}, {"logprobs", true}, {"top_logprobs", 1}, {"stream", is_stream}});
    send_logprobs(tester);
    json content = json::array();
    for (const json& body : is_stream ? answered->events() : std::vector<json>{answered->json()}) {
      if (body["choices"][0]["logprobs"].is_null()) continue;
      const json& part = body["choices"][0]["logprobs"]["content"];
      content.insert(content.end(), part.begin(), part.end());
    }
    ASSERT_EQ(content.size(), 3u);
    EXPECT_EQ(content[0], json({{"token", "a"},
                                {"logprob", -0.25},
                                {"bytes", {97}},
                                {"top_logprobs", {{{"token", "a"}, {"logprob", -0.25}, {"bytes", {97}}}}}}));
    EXPECT_EQ(content[1]["token"], " b");
    EXPECT_EQ(content[1]["bytes"], json({32, 98}));
    EXPECT_EQ(content[2]["token"], "\xEF\xBF\xBD");
    EXPECT_EQ(content[2]["bytes"][0], 0xF0);
  }
}

TEST(OpenAiCompletions, SpecialTokensAreShownOnDemand) {
  OpenAiTester tester;
  std::vector<int32_t> ids = tester.ids("one");
  ids.push_back(0);
  for (const bool skips : {true, false}) {
    const auto answered = tester.post("/v1/completions", {{"prompt", "a"}, {"skip_special_tokens", skips}});
    tester.engine.send_tokens(tester.engine.submitted.size() - 1, ids);
    EXPECT_EQ(answered->json()["choices"][0]["text"], skips ? "one" : "one<|begin_of_text|>");
  }
}

TEST(OpenAiCompletions, TokenIdsOnDemand) {
  OpenAiTester tester;
  auto answered = tester.post("/v1/completions", {{"prompt", {5, 6}}, {"return_token_ids", true}});
  tester.engine.send_tokens(0, {100, 101});
  EXPECT_EQ(answered->json()["choices"][0]["prompt_token_ids"], json({5, 6}));
  EXPECT_EQ(answered->json()["choices"][0]["token_ids"], json({100, 101}));

  answered = tester.post("/v1/completions", {{"prompt", {5, 6}}, {"return_token_ids", true}, {"stream", true}});
  tester.engine.send_tokens(1, {100, 101});
  const auto events = answered->events();
  EXPECT_EQ(events[0]["choices"][0]["prompt_token_ids"], json({5, 6}));
  EXPECT_EQ(events[0]["choices"][0]["token_ids"], json({100}));
  EXPECT_FALSE(events[1]["choices"][0].contains("prompt_token_ids"));

  const json messages = json::array({{{"role", "user"}, {"content", "hello"}}});
  answered = tester.post("/v1/chat/completions", {{"messages", messages}, {"return_token_ids", true}});
  tester.engine.send_tokens(2, {100});
  EXPECT_EQ(answered->json()["prompt_token_ids"], json(tester.engine.submitted[2].request.prompt));
  EXPECT_EQ(answered->json()["choices"][0]["token_ids"], json({100}));
}

}  // namespace
}  // namespace cohort
