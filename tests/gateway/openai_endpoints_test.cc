// The endpoints that generate nothing.
#include <gtest/gtest.h>

#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

TEST(OpenAiEndpoints, HealthFollowsTheEngine) {
  OpenAiTester tester;
  for (const char* path : {"/health", "/ping"}) {
    tester.engine.health_ = {.state = EngineState::kLoading, .what = "loading weights", .fraction = 0.25};
    auto answered = tester.get(path);
    EXPECT_EQ(answered->status, 503);
    EXPECT_EQ(answered->json(), json({{"status", "loading"}, {"what", "loading weights"}, {"progress", 0.25}}));
    tester.engine.health_ = {.state = EngineState::kReady, .what = "", .fraction = 1};
    EXPECT_EQ(tester.get(path)->status, 200);
    tester.engine.health_ = {.state = EngineState::kBroken, .what = "rank 3 has died"};
    answered = tester.get(path);
    EXPECT_EQ(answered->status, 503);
    EXPECT_EQ(answered->json(), json({{"status", "broken"}, {"reason", "rank 3 has died"}}));
  }
}

TEST(OpenAiEndpoints, NothingIsTakenBeforeTheEngineIsReady) {
  OpenAiTester tester;
  for (const EngineState state : {EngineState::kLoading, EngineState::kBroken}) {
    tester.engine.health_ = {.state = state, .what = "because"};
    for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
      const auto answered = tester.post(path, {{"prompt", "a"}});
      EXPECT_EQ(answered->status, 503) << path;
      EXPECT_EQ(answered->headers.count("Retry-After"), 1u);
      EXPECT_EQ(answered->json()["error"]["code"], 503);
      EXPECT_NE(answered->body.find("because"), std::string::npos);
    }
    for (const char* path : {"/v1/models", "/v1/models/quickstart"}) {  // how long its sequences are is not known yet
      EXPECT_EQ(tester.get(path)->status, 503) << path;
    }
  }
  EXPECT_TRUE(tester.engine.submitted.empty());
}

TEST(OpenAiEndpoints, Models) {
  OpenAiTester tester;
  const json list = tester.get("/v1/models")->json();
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 1u);
  EXPECT_EQ(list["data"][0]["id"], "quickstart");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 2048);
  EXPECT_TRUE(list["data"][0]["created"].is_number_integer());
  EXPECT_TRUE(list["data"][0]["owned_by"].is_string());
  EXPECT_EQ(tester.get("/v1/models/quickstart")->json(), list["data"][0]);
  for (const char* name : {"other", "", "../quickstart", "quickstart/x"}) {
    EXPECT_EQ(tester.get(std::string("/v1/models/") + name)->status, 404) << name;
  }
}

TEST(OpenAiEndpoints, VersionAndLoad) {
  OpenAiTester tester;
  EXPECT_EQ(tester.get("/version")->json(), json({{"version", "1.2.3"}}));
  EXPECT_EQ(tester.get("/load")->json(), json({{"server_load", 0}}));
  tester.post("/v1/completions", {{"prompt", "a"}});
  EXPECT_EQ(tester.get("/load")->json(), json({{"server_load", 1}}));
}

TEST(OpenAiEndpoints, OnlyHealthNeedsNoKey) {
  OpenAiTester tester;
  for (const HttpRoute& route : tester.api->routes()) {
    const bool is_health = route.path == "/health" || route.path == "/ping" || route.path.starts_with("/v2/health/");
    EXPECT_EQ(route.needs_key, !is_health) << route.path;
  }
}

TEST(OpenAiEndpoints, WhatEncodersDoIsUnsupported) {
  OpenAiTester tester;
  for (const char* path : {"/v1/embeddings", "/v1/classify", "/v1/score", "/v1/rerank"}) {
    const auto answered = tester.post(path, {{"model", "quickstart"}, {"input", "a"}});
    expect_refused(*answered, "model");
    EXPECT_NE(answered->body.find("does not support"), std::string::npos);
  }
}

TEST(OpenAiEndpoints, Tokenize) {
  OpenAiTester tester;
  json body = tester.post("/tokenize", {{"model", "quickstart"}, {"prompt", "Once upon"}})->json();
  EXPECT_EQ(body["tokens"], json(tester.tokenizer_->encode("Once upon")));
  EXPECT_EQ(body["count"], body["tokens"].size());
  EXPECT_EQ(body["max_model_len"], 2048);
  EXPECT_EQ(body["token_strs"], nullptr);
  body =
      tester.post("/tokenize", {{"prompt", "Once upon"}, {"add_special_tokens", false}, {"return_token_strs", true}})
          ->json();
  EXPECT_EQ(body["tokens"], json(tester.ids("Once upon")));
  EXPECT_EQ(body["token_strs"].size(), body["tokens"].size());

  const json messages = json::array({{{"role", "user"}, {"content", "hi <|end_of_text|>"}}});
  tester.post("/v1/chat/completions", {{"messages", messages}});
  body = tester.post("/tokenize", {{"messages", messages}})->json();
  EXPECT_EQ(body["tokens"], json(tester.engine.submitted.at(0).request.prompt));

  expect_refused(*tester.post("/tokenize", json::object()), "prompt");
  expect_refused(*tester.post("/tokenize", {{"prompt", 5}}), "prompt");
  expect_refused(*tester.post("/tokenize", {{"prompt", "a"}, {"messages", messages}}), "prompt");
  expect_refused(*tester.post("/tokenize", {{"messages", json::array()}}), "messages");
  expect_refused(*tester.post("/tokenize", {{"messages", messages}, {"chat_template", "x"}}), "chat_template");
  EXPECT_EQ(tester.post("/tokenize", {{"model", "x"}, {"prompt", "a"}})->status, 404);
}

TEST(OpenAiEndpoints, Detokenize) {
  OpenAiTester tester;
  EXPECT_EQ(tester.post("/detokenize", {{"tokens", tester.ids("Once upon")}})->json(), json({{"prompt", "Once upon"}}));
  EXPECT_EQ(tester.post("/detokenize", {{"tokens", json::array()}})->json(), json({{"prompt", ""}}));
  expect_refused(*tester.post("/detokenize", {{"tokens", {1, 4096}}}), "tokens[1]");
  expect_refused(*tester.post("/detokenize", {{"tokens", "a"}}), "tokens");
  expect_refused(*tester.post("/detokenize", json::object()), "tokens");
}

TEST(OpenAiEndpoints, Metrics) {
  OpenAiTester tester;
  tester.engine.stats_ = {.num_running = 3,
                          .num_waiting = 4,
                          .num_owned_blocks = 128,
                          .num_blocks = 512,
                          .num_prompt_tokens = 1000,
                          .num_output_tokens = 200,
                          .num_prefix_queries = 900,
                          .num_prefix_hits = 300,
                          .num_preemptions = 2,
                          .num_cancelled = 5,
                          .num_errors = 6};
  tester.post("/v1/completions", {{"prompt", "a"}});
  tester.engine.send_token(0, 100);
  tester.engine.send_token(0, 101);
  tester.engine.send_token(0, 102, FinishReason::kLength);
  tester.post("/v1/completions", {{"prompt", "a"}, {"stop", "x"}});
  tester.reply(1, "x");
  const auto answered = tester.get("/metrics");
  EXPECT_TRUE(answered->content_type.starts_with("text/plain; version=0.0.4"));
  const std::string labels = R"({model_name="quickstart",engine="0"})";
  for (const std::string prefix : {"cohort:", "vllm:"}) {
    for (const std::string& line :
         {"num_requests_running" + labels + " 3", "num_requests_waiting" + labels + " 4",
          "kv_cache_usage_perc" + labels + " 0.25", "prompt_tokens_total" + labels + " 1000",
          "generation_tokens_total" + labels + " 200", "prefix_cache_queries_total" + labels + " 900",
          "prefix_cache_hits_total" + labels + " 300", "num_preemptions_total" + labels + " 2",
          "num_cancelled_total" + labels + " 5", "num_errors_total" + labels + " 6",
          "time_to_first_token_seconds_count" + labels + " 2", "inter_token_latency_seconds_count" + labels + " 2",
          "e2e_request_latency_seconds_count" + labels + " 2", "request_queue_time_seconds_count" + labels + " 2",
          "request_prefill_time_seconds_count" + labels + " 2", "request_decode_time_seconds_count" + labels + " 2",
          std::string(R"(request_success_total{model_name="quickstart",engine="0",finished_reason="length"} 1)"),
          std::string(R"(request_success_total{model_name="quickstart",engine="0",finished_reason="stop"} 1)")}) {
      EXPECT_NE(answered->body.find("\n" + prefix + line + "\n"), std::string::npos) << prefix + line;
    }
  }
}

}  // namespace
}  // namespace cohort
