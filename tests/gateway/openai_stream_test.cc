// Streams and what becomes of them: characters and stop strings across tokens, errors, clients that go away, drains.
#include <gtest/gtest.h>

#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

json chat(const char* text, json more = json::object()) {
  more["messages"] = json::array({{{"role", "user"}, {"content", text}}});
  more["stream"] = true;
  return more;
}

std::string text_of(const std::vector<json>& events, int index = 0) {
  std::string text;
  for (const json& event : events) {
    for (const json& choice : event.value("choices", json::array())) {
      if (choice["index"] != index) continue;
      text +=
          choice.contains("text") ? choice["text"].get<std::string>() : choice["delta"]["content"].get<std::string>();
    }
  }
  return text;
}

TEST(OpenAiStream, OfAChat) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/chat/completions", chat("hello", {{"model", "quickstart"}}));
  EXPECT_EQ(tester.engine.submitted[0].request.max_tokens,
            2048 - static_cast<int64_t>(tester.engine.submitted[0].request.prompt.size()));
  tester.reply(0, "Good day to you");
  const auto events = answered->events();
  ASSERT_GE(events.size(), 3u);
  for (const json& event : events) {
    EXPECT_EQ(event["id"], "chatcmpl-request-1");
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_EQ(event["model"], "quickstart");
  }
  EXPECT_EQ(events[0]["choices"][0], json({{"index", 0},
                                           {"delta", {{"role", "assistant"}, {"content", ""}}},
                                           {"logprobs", nullptr},
                                           {"finish_reason", nullptr}}));
  EXPECT_EQ(text_of(events), "Good day to you");
  for (size_t i = 0; i + 1 < events.size(); ++i) EXPECT_EQ(events[i]["choices"][0]["finish_reason"], nullptr);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events.back()["choices"][0]["stop_reason"], nullptr);
}

TEST(OpenAiStream, CharactersComeWhole) {
  OpenAiTester tester;
  const std::string text = "na\xC3\xAFve \xF0\x9F\x98\x80\xE2\x82\xAC \"q\" \\ \n\x01 \xE4\xB8\xAD";
  const auto answered = tester.post("/v1/completions", {{"prompt", "a"}, {"stream", true}, {"max_tokens", 100}});
  const auto ids = tester.ids(text);
  ASSERT_GT(ids.size(), 10u);
  tester.engine.send_tokens(0, ids);
  EXPECT_EQ(text_of(answered->events()), text);
  EXPECT_EQ(answered->body.find("\xEF\xBF\xBD"), std::string::npos);

  // One that never ends is shown as such, at the end.
  const auto cut = tester.post("/v1/completions", {{"prompt", "a"}, {"stream", true}, {"max_tokens", 100}});
  const auto smile = tester.ids("\xF0\x9F\x98\x80");
  ASSERT_GT(smile.size(), 1u);
  tester.engine.send_tokens(1, {smile.begin(), smile.end() - 1});
  EXPECT_EQ(text_of(cut->events()), "\xEF\xBF\xBD");
}

TEST(OpenAiStream, StopsAtStringsAcrossTokens) {
  const std::string text = "one two END three four five six";
  for (const bool is_stream : {true, false}) {
    for (const bool is_included : {true, false}) {
      OpenAiTester tester;
      const auto answered = tester.post("/v1/completions", {{"prompt", "a"},
                                                            {"stream", is_stream},
                                                            {"max_tokens", 100},
                                                            {"stop", {"never", "o END t"}},
                                                            {"include_stop_str_in_output", is_included}});
      tester.reply(0, text);
      EXPECT_TRUE(tester.engine.submitted[0].is_cancelled);  // the engine would have gone on
      const std::string expected = is_included ? "one two END t" : "one tw";
      const json last = is_stream ? answered->events().back() : answered->json();
      EXPECT_EQ(is_stream ? text_of(answered->events()) : last["choices"][0]["text"].get<std::string>(), expected);
      EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
      EXPECT_EQ(last["choices"][0]["stop_reason"], "o END t");
      EXPECT_TRUE(answered->has_ended);
      EXPECT_EQ(tester.api->service.num_active(), 0);
    }
  }
}

TEST(OpenAiStream, HeldBackTextComesInTheEnd) {
  OpenAiTester tester;
  const auto answered =
      tester.post("/v1/completions", {{"prompt", "a"}, {"stream", true}, {"max_tokens", 100}, {"stop", "END"}});
  tester.reply(0, "one EN", FinishReason::kLength);
  EXPECT_EQ(text_of(answered->events()), "one EN");
  EXPECT_EQ(answered->events().back()["choices"][0]["finish_reason"], "length");
}

TEST(OpenAiStream, StopTokensAreNamed) {
  OpenAiTester tester;
  const int32_t dot = tester.ids(".").at(0);
  for (const bool is_included : {true, false}) {
    const auto answered = tester.post(
        "/v1/completions",
        {{"prompt", "a"}, {"stop_token_ids", {dot}}, {"include_stop_str_in_output", is_included}, {"max_tokens", 100}});
    const size_t index = tester.engine.submitted.size() - 1;
    EXPECT_EQ(tester.engine.submitted[index].request.stop_ids, (std::vector<int32_t>{dot, 1}));
    std::vector<int32_t> ids = tester.ids("one two");
    ids.push_back(dot);
    tester.engine.send_tokens(index, ids, FinishReason::kStop);
    const json choice = answered->json()["choices"][0];
    EXPECT_EQ(choice["text"], is_included ? "one two." : "one two");
    EXPECT_EQ(choice["finish_reason"], "stop");
    EXPECT_EQ(choice["stop_reason"], dot);
  }
  tester.post("/v1/completions", {{"prompt", "a"}, {"ignore_eos", true}, {"stop_token_ids", {dot}}});
  EXPECT_EQ(tester.engine.submitted.back().request.stop_ids, std::vector<int32_t>{dot});
}

TEST(OpenAiStream, StopStringsCountFromMinTokensOn) {
  OpenAiTester tester;
  const auto answered =
      tester.post("/v1/completions", {{"prompt", "a"}, {"stop", "x"}, {"min_tokens", 4}, {"max_tokens", 100}});
  EXPECT_EQ(tester.engine.submitted[0].request.min_tokens, 4);
  const int32_t x = tester.ids("x").at(0);
  for (int i = 0; i < 5; ++i) tester.engine.send_token(0, x);
  EXPECT_EQ(answered->json()["choices"][0]["text"], "xxxx");
  EXPECT_EQ(answered->json()["usage"]["completion_tokens"], 5);
}

TEST(OpenAiStream, SeveralChoicesAndTheirUsage) {
  OpenAiTester tester;
  const auto answered = tester.post(
      "/v1/chat/completions",
      chat("hello",
           {{"n", 3}, {"seed", 7}, {"stream_options", {{"include_usage", true}, {"continuous_usage_stats", true}}}}));
  ASSERT_EQ(tester.engine.submitted.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(tester.engine.submitted[i].request.sampling.seed, 7 + i);
    EXPECT_EQ(tester.engine.submitted[i].request.name, "request-1/" + std::to_string(i));
  }
  const char* texts[] = {"one two", "three four", "five six"};
  std::vector<std::vector<int32_t>> ids;
  for (const char* text : texts) ids.push_back(tester.ids(text));
  for (size_t step = 0; step < 8; ++step) {
    for (size_t i = 0; i < 3; ++i) {
      if (step >= ids[i].size()) continue;
      tester.engine.send_token(i, ids[i][step],
                               step + 1 == ids[i].size() ? FinishReason::kLength : FinishReason::kNone);
    }
  }
  const auto events = answered->events();
  int64_t num_tokens = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(text_of(events, i), texts[i]);
    num_tokens += static_cast<int64_t>(ids[static_cast<size_t>(i)].size());
  }
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const json& choice = events[i]["choices"][0];
    if (choice["delta"].contains("role")) continue;
    EXPECT_EQ(events[i]["usage"]["prompt_tokens"], tester.engine.submitted[0].request.prompt.size());
    EXPECT_GE(events[i]["usage"]["completion_tokens"], 1);
  }
  EXPECT_EQ(events.back()["choices"], json::array());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], num_tokens);
  EXPECT_EQ(events.back()["usage"]["prompt_tokens"], tester.engine.submitted[0].request.prompt.size());
}

TEST(OpenAiStream, AFullQueueIs429) {
  OpenAiTester tester;
  for (const bool is_stream : {true, false}) {
    const auto answered = tester.post("/v1/completions", {{"prompt", "a"}, {"stream", is_stream}, {"n", 2}});
    const size_t index = tester.engine.submitted.size() - 2;
    tester.engine.send_status(index, resource_exhausted("the queue is full: 512 requests wait"));
    EXPECT_EQ(answered->status, 429);
    EXPECT_EQ(answered->headers.count("Retry-After"), 1u);
    EXPECT_EQ(answered->json()["error"]["code"], 429);
    EXPECT_TRUE(tester.engine.submitted[index + 1].is_cancelled);
    EXPECT_EQ(tester.api->service.num_active(), 0);
  }
}

TEST(OpenAiStream, WhatCanNeverRunIs400) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/completions", {{"prompt", "a"}});
  tester.engine.send_status(0, invalid_argument("prompt: 9000 tokens do not fit the cache"));
  expect_refused(*answered, "prompt");
}

TEST(OpenAiStream, AFailureInMidStreamIsAnEventAndTheEnd) {
  OpenAiTester tester;
  const auto answered = tester.post("/v1/chat/completions", chat("hello", {{"n", 2}}));
  tester.engine.send_token(0, tester.ids("one").at(0));
  tester.engine.send_token(1, tester.ids("one").at(0));
  tester.engine.send_status(0, {StatusCode::kUnavailable, "rank 3 has died"});
  EXPECT_TRUE(tester.engine.submitted[1].is_cancelled);
  const auto events = answered->events();
  EXPECT_EQ(events.back()["error"]["code"], 503);
  EXPECT_EQ(events.back()["error"]["message"], "rank 3 has died");
  EXPECT_TRUE(answered->has_ended);
}

TEST(OpenAiStream, LogitsThatAreNotNumbersFailTheRequest) {
  OpenAiTester tester;
  const auto whole = tester.post("/v1/completions", {{"prompt", "a"}});
  tester.engine.send_token(0, -1, FinishReason::kError);
  EXPECT_EQ(whole->status, 500);
  EXPECT_EQ(whole->json()["error"]["code"], 500);
  const auto stream = tester.post("/v1/completions", {{"prompt", "a"}, {"stream", true}});
  tester.engine.send_token(1, tester.ids("one").at(0));
  tester.engine.send_token(1, -1, FinishReason::kError);
  EXPECT_EQ(stream->events().back()["error"]["code"], 500);
}

TEST(OpenAiStream, ClientsThatGoAwayAreCancelled) {
  OpenAiTester tester;
  const auto waiting = tester.post("/v1/completions", {{"prompt", "a"}, {"n", 2}});
  const auto streaming = tester.post("/v1/completions", {{"prompt", "a"}, {"stream", true}});
  tester.engine.send_token(2, tester.ids("one").at(0));
  EXPECT_EQ(tester.api->service.num_active(), 2);
  waiting->go();
  streaming->go();
  EXPECT_EQ(tester.engine.num_open(), 0u);
  EXPECT_EQ(tester.api->service.num_active(), 0);
  for (const auto& one : tester.engine.submitted) EXPECT_TRUE(one.is_cancelled);
  const std::string metrics = tester.get("/metrics")->body;
  EXPECT_NE(metrics.find("finished_reason=\"abort\"} 2\n"), std::string::npos) << metrics;
}

TEST(OpenAiStream, ADrainTakesNothingNewAndEndsTheRest) {
  OpenAiTester tester;
  const auto begun = tester.post("/v1/completions", {{"prompt", "a"}, {"stream", true}});
  tester.engine.send_token(0, tester.ids("one").at(0));
  tester.api->service.begin_drain();
  const auto refused = tester.post("/v1/completions", {{"prompt", "a"}});
  EXPECT_EQ(refused->status, 503);
  EXPECT_EQ(refused->headers.count("Retry-After"), 1u);
  EXPECT_EQ(tester.get("/health")->json()["status"], "draining");
  EXPECT_EQ(tester.api->service.num_active(), 1);
  tester.engine.send_token(0, tester.ids(" two").at(0), FinishReason::kLength);
  EXPECT_TRUE(begun->has_ended);
  EXPECT_EQ(tester.api->service.num_active(), 0);
}

TEST(OpenAiStream, AllCanBeFailed) {
  OpenAiTester tester;
  const auto whole = tester.post("/v1/completions", {{"prompt", "a"}});
  const auto stream = tester.post("/v1/chat/completions", chat("hello"));
  tester.engine.send_token(1, tester.ids("one").at(0));
  tester.api->service.fail_all("the server is shutting down");
  EXPECT_EQ(tester.api->service.num_active(), 0);
  EXPECT_EQ(tester.engine.num_open(), 0u);
  EXPECT_EQ(whole->status, 503);
  EXPECT_EQ(stream->events().back()["error"]["message"], "the server is shutting down");
  EXPECT_EQ(tester.post("/v1/completions", {{"prompt", "a"}})->status, 503);
}

// Work of the pool is done when the test says so.
class LateExecutor final : public TaskExecutor {
 public:
  void run(std::function<void()> task, std::function<void()> done) override {
    task();
    done_.push_back(std::move(done));
  }
  std::vector<std::function<void()>> done_;
};

TEST(OpenAiStream, TemplatesOfClientsRunElsewhere) {
  OpenAiTester tester;
  LateExecutor late;
  OpenAiOptions options = OpenAiTester::default_options();
  options.chat.request_templates = true;
  TestedApi api(tester.engine, *tester.tokenizer_, late, options);
  tester.use(api);
  tester.post("/v1/chat/completions", chat("hello", {{"chat_template", "{{ messages[0].content }}"}}));
  ASSERT_EQ(late.done_.size(), 1u);
  late.done_[0]();
  EXPECT_EQ(tester.engine.submitted.size(), 1u);
}

TEST(OpenAiStream, LongBodiesArePreparedElsewhere) {
  OpenAiTester tester;
  LateExecutor late;
  TestedApi api(tester.engine, *tester.tokenizer_, late, OpenAiTester::default_options());
  tester.use(api);
  const std::string text(20'000, ' ');
  const json body = {{"prompt", text + "x"}, {"truncate_prompt_tokens", 9}};
  tester.post("/v1/completions", body);
  const auto second = tester.post("/v1/completions", body);
  const auto third = tester.post("/v1/completions", body);
  EXPECT_EQ(api.service.num_active(), 3);
  ASSERT_EQ(late.done_.size(), 3u);
  EXPECT_TRUE(tester.engine.submitted.empty());
  late.done_[0]();
  ASSERT_EQ(tester.engine.submitted.size(), 1u);
  EXPECT_EQ(tester.engine.submitted[0].request.prompt.size(), 9u);
  second->go();  // before it is ready
  late.done_[1]();
  EXPECT_EQ(tester.engine.submitted.size(), 1u);
  EXPECT_EQ(api.service.num_active(), 2);
  tester.engine.health_ = {.state = EngineState::kBroken, .what = "rank 1 died"};
  late.done_[2]();
  EXPECT_EQ(third->status, 503);
  EXPECT_EQ(api.service.num_active(), 1);
}

}  // namespace
}  // namespace cohort
