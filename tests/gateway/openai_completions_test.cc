// POST /v1/completions and /v1/chat/completions, from a request to its answer, whole and streamed.
#include <gtest/gtest.h>

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
  EXPECT_EQ(tester.api->num_active(), 1);
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
  EXPECT_EQ(tester.api->num_active(), 0);
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

}  // namespace
}  // namespace cohort
