// Bodies that must be refused, with the field at fault, before anything is handed to the engine.
#include <gtest/gtest.h>

#include "launcher/gateway/json_fields.h"
#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr const char* kPaths[] = {"/v1/completions", "/v1/chat/completions"};

std::string valid_body(const std::string& path, const std::string& more) {
  const std::string prompt =
      path == "/v1/completions" ? R"("prompt": "Once")" : R"("messages": [{"role": "user", "content": "Once"}])";
  return "{" + prompt + (more.empty() ? "" : ", ") + more + "}";
}

struct BadField {
  const char* text;  // as it stands in the body
  const char* param;
};

// Row by row what both endpoints refuse.
constexpr BadField kBadFields[] = {
    {R"("max_tokens": -1)", "max_tokens"},
    {R"("max_tokens": 0)", "max_tokens"},
    {R"("max_tokens": 9223372036854775808)", "max_tokens"},
    {R"("max_tokens": 1e308)", "max_tokens"},
    {R"("max_tokens": "5")", "max_tokens"},
    {R"("max_tokens": 1.5)", "max_tokens"},
    {R"("max_tokens": [5])", "max_tokens"},
    {R"("max_tokens": true)", "max_tokens"},
    {R"("min_tokens": -1)", "min_tokens"},
    {R"("min_tokens": 6, "max_tokens": 5)", "min_tokens"},
    {R"("n": 1000000)", "n"},
    {R"("n": 0)", "n"},
    {R"("n": 4e18)", "n"},
    {R"("temperature": -0.1)", "temperature"},
    {R"("temperature": 1e308)", "temperature"},
    {R"("temperature": "1")", "temperature"},
    {R"("top_p": -1)", "top_p"},
    {R"("top_p": 0)", "top_p"},
    {R"("top_p": 1.01)", "top_p"},
    {R"("top_k": -2)", "top_k"},
    {R"("top_k": 2147483648)", "top_k"},
    {R"("min_p": 1.5)", "min_p"},
    {R"("repetition_penalty": 0)", "repetition_penalty"},
    {R"("repetition_penalty": -1)", "repetition_penalty"},
    {R"("presence_penalty": 2.5)", "presence_penalty"},
    {R"("frequency_penalty": -3)", "frequency_penalty"},
    {R"("seed": 1.5)", "seed"},
    {R"("seed": 9223372036854775808)", "seed"},
    {R"("logit_bias": {"4096": 1})", "logit_bias"},
    {R"("logit_bias": {"-1": 1})", "logit_bias"},
    {R"("logit_bias": {"5x": 1})", "logit_bias"},
    {R"("logit_bias": {"": 1})", "logit_bias"},
    {R"("logit_bias": {"99999999999999999999": 1})", "logit_bias"},
    {R"("logit_bias": {"5": 101})", "logit_bias"},
    {R"("logit_bias": {"5": "1"})", "logit_bias"},
    {R"("logit_bias": [1])", "logit_bias"},
    {R"("stop": 5)", "stop"},
    {R"("stop": "")", "stop"},
    {R"("stop": ["a", ""])", "stop[1]"},
    {R"("stop": ["a", 5])", "stop[1]"},
    {R"("stop_token_ids": [4096])", "stop_token_ids[0]"},
    {R"("stop_token_ids": [1, -1])", "stop_token_ids[1]"},
    {R"("stop_token_ids": "1")", "stop_token_ids"},
    {R"("ignore_eos": 1)", "ignore_eos"},
    {R"("skip_special_tokens": "no")", "skip_special_tokens"},
    {R"("include_stop_str_in_output": 0)", "include_stop_str_in_output"},
    {R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens"},
    {R"("truncate_prompt_tokens": -2)", "truncate_prompt_tokens"},
    {R"("truncate_prompt_tokens": 5000)", "truncate_prompt_tokens"},
    {R"("prompt_logprobs": 1)", "prompt_logprobs"},
    {R"("allowed_token_ids": [])", "allowed_token_ids"},
    {R"("allowed_token_ids": [4096])", "allowed_token_ids[0]"},
    {R"("allowed_token_ids": [5], "repetition_penalty": 1.5)", "allowed_token_ids"},
    {R"("bad_words": "x")", "bad_words"},
    {R"("bad_words": [""])", "bad_words[0]"},
    {R"("bad_words": ["several words are not one token"])", "bad_words"},
    {R"("priority": 2147483648)", "priority"},
    {R"("priority": 0.5)", "priority"},
    {R"("return_token_ids": 1)", "return_token_ids"},
    {R"("structured_outputs": {"regex": "(a+)+b"})", "structured_outputs"},
    {R"("cache_salt": 5)", "cache_salt"},
    {R"("stream": "yes")", "stream"},
    {R"("stream_options": {"include_usage": true})", "stream_options"},
    {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage"},
    {R"("stream": true, "stream_options": [])", "stream_options"},
    {R"("response_format": {"type": "json_object"})", "response_format"},
    {R"("response_format": {"type": "json_schema", "json_schema": {"$ref": "#"}})", "response_format"},
    {R"("response_format": {"type": "xml"})", "response_format.type"},
    {R"("response_format": "text")", "response_format"},
    {R"("model": 5)", "model"},
    {R"("user": 5)", "user"},
};

TEST(OpenAiFields, MoreTokensThanACompletionHasByDefaultAreRefused) {
  OpenAiTester tester;
  expect_refused(*tester.post("/v1/completions", {{"prompt", "a"}, {"min_tokens", 17}}), "min_tokens");
  EXPECT_EQ(tester.post("/v2/models/quickstart/generate", {{"text_input", "a"}, {"min_tokens", 17}})->status, 400);
  EXPECT_TRUE(tester.engine.submitted.empty());
  tester.post("/v1/completions", {{"prompt", "a"}, {"min_tokens", 16}});
  ASSERT_EQ(tester.engine.submitted.size(), 1u);
  EXPECT_EQ(tester.engine.submitted[0].request.min_tokens, 16);
}

TEST(OpenAiFields, BadOnesAreRefusedAndNamed) {
  OpenAiTester tester;
  for (const char* path : kPaths) {
    for (const BadField& field : kBadFields) {
      SCOPED_TRACE(std::string(path) + " " + field.text);
      expect_refused(*tester.send("POST", path, valid_body(path, field.text)), field.param);
    }
  }
  EXPECT_TRUE(tester.engine.submitted.empty());
}

TEST(OpenAiFields, BadOnesOfOneEndpoint) {
  OpenAiTester tester;
  constexpr BadField kCompletion[] = {
      {R"("logprobs": 1000000)", "logprobs"}, {R"("logprobs": -1)", "logprobs"},
      {R"("logprobs": true)", "logprobs"},    {R"("best_of": 1000000)", "best_of"},
      {R"("best_of": 1, "n": 2)", "best_of"}, {R"("best_of": 2, "stream": true)", "best_of"},
      {R"("echo": "yes")", "echo"},           {R"("echo": true, "logprobs": 1)", "echo"},
  };
  for (const BadField& field : kCompletion) {
    expect_refused(*tester.send("POST", "/v1/completions", valid_body("/v1/completions", field.text)), field.param);
  }
  constexpr BadField kChat[] = {
      {R"("logprobs": 1)", "logprobs"},
      {R"("logprobs": true, "top_logprobs": 1000000)", "top_logprobs"},
      {R"("top_logprobs": 2)", "top_logprobs"},
      {R"("max_completion_tokens": -1)", "max_completion_tokens"},
      {R"("tools": [{"type": "function", "function": {"name": "f"}}])", "tools"},
      {R"("tools": {})", "tools"},
      {R"("tool_choice": "required")", "tool_choice"},
      {R"("tool_choice": "whatever")", "tool_choice"},
      {R"("parallel_tool_calls": 1)", "parallel_tool_calls"},
      {R"("chat_template": "{{ messages }}")", "chat_template"},
      {R"("chat_template_kwargs": [])", "chat_template_kwargs"},
      {R"("add_generation_prompt": "yes")", "add_generation_prompt"},
      {R"("add_generation_prompt": true, "continue_final_message": true)", "continue_final_message"},
  };
  for (const BadField& field : kChat) {
    SCOPED_TRACE(field.text);
    expect_refused(*tester.send("POST", "/v1/chat/completions", valid_body("/v1/chat/completions", field.text)),
                   field.param);
  }
  EXPECT_TRUE(tester.engine.submitted.empty());
}

TEST(OpenAiFields, ManyStopsAreRefused) {
  OpenAiTester tester;
  const json many(10'000, "stop");
  expect_refused(*tester.post("/v1/completions", {{"prompt", "Once"}, {"stop", many}}), "stop");
  expect_refused(*tester.post("/v1/completions", {{"prompt", "Once"}, {"stop", std::string(2000, 'x')}}), "stop");
  expect_refused(*tester.post("/v1/completions", {{"prompt", "Once"}, {"stop_token_ids", json(10'000, 1)}}),
                 "stop_token_ids");
  json biases;
  for (int id = 0; id < 2000; ++id) biases[std::to_string(id)] = 1;
  expect_refused(*tester.post("/v1/completions", {{"prompt", "Once"}, {"logit_bias", biases}}), "logit_bias");
}

TEST(OpenAiFields, PromptsMustSaySomething) {
  OpenAiTester tester;
  const std::pair<const char*, const char*> kPrompts[] = {
      {R"({})", "prompt"},
      {R"({"prompt": null})", "prompt"},
      {R"({"prompt": ""})", "prompt"},
      {R"({"prompt": []})", "prompt"},
      {R"({"prompt": [""]})", "prompt[0]"},
      {R"({"prompt": [[]]})", "prompt[0]"},
      {R"({"prompt": ["a", [1]]})", "prompt[1]"},
      {R"({"prompt": [[1], "a"]})", "prompt[1]"},
      {R"({"prompt": [1, "a"]})", "prompt[1]"},
      {R"({"prompt": [4096]})", "prompt[0]"},
      {R"({"prompt": [-1]})", "prompt[0]"},
      {R"({"prompt": [1, 1.5]})", "prompt[1]"},
      {R"({"prompt": [[1], [1, 1e300]]})", "prompt[1][1]"},
      {R"({"prompt": {"text": "a"}})", "prompt"},
      {R"({"prompt": 5})", "prompt"},
  };
  for (const auto& [body, param] : kPrompts) expect_refused(*tester.send("POST", "/v1/completions", body), param);
  expect_refused(*tester.post("/v1/completions", {{"prompt", json(2000, "a")}}), "prompt");

  const std::pair<const char*, const char*> kMessages[] = {
      {R"({})", "messages"},
      {R"({"messages": null})", "messages"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": "hello"})", "messages"},
      {R"({"messages": ["hello"]})", "messages[0]"},
      {R"({"messages": [{"content": "hello"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "im_end", "content": "hello"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "user"}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})", "messages[0].content[0].text"},
      {R"({"messages": [{"role": "user", "content": "a", "name": 5}]})", "messages[0].name"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{}]}]})", "messages[0].tool_calls[0].function"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1"}}]}]})",
       "messages[0].tool_calls[0].function.arguments"},
  };
  for (const auto& [body, param] : kMessages) {
    SCOPED_TRACE(body);
    expect_refused(*tester.send("POST", "/v1/chat/completions", body), param);
  }
}

// Nothing is ever fetched, whatever it points to.
TEST(OpenAiFields, PartsThatAreNotTextAreRefused) {
  OpenAiTester tester;
  for (const char* url : {"file:///etc/passwd", "http://169.254.169.254/latest", "https://example.com/a.png",
                          "data:image/png;base64,AAAA"}) {
    const json parts = {{{"type", "text"}, {"text", "look"}}, {{"type", "image_url"}, {"image_url", {{"url", url}}}}};
    const json messages = json::array({{{"role", "user"}, {"content", parts}}});
    expect_refused(*tester.post("/v1/chat/completions", {{"messages", messages}}), "messages[0].content[1].type");
  }
  for (const char* type : {"input_audio", "video_url", "file", ""}) {
    const json parts = json::array({{{"type", type}, {"url", "http://127.0.0.1/"}}});
    const json messages = json::array({{{"role", "user"}, {"content", parts}}});
    expect_refused(*tester.post("/v1/chat/completions", {{"messages", messages}}), "messages[0].content[0].type");
  }
}

TEST(OpenAiFields, BodiesThatAreNotJsonAreRefused) {
  OpenAiTester tester;
  const std::string bodies[] = {
      "",
      " \n",
      "null",
      "[]",
      "\"text\"",
      "{",
      "{} {}",
      R"({"prompt": "a", "prompt": "b"})",
      R"({"prompt": "a", "temperature": NaN})",
      R"({"prompt": "a", "temperature": Infinity})",
      R"({"prompt": "a", "temperature": 1e999})",
      "{\"prompt\": \"\xff\xfe\"}",               // not UTF-8
      "{\"prompt\": \"\xed\xa0\x80\"}",           // a surrogate, encoded
      "{\"prompt\": \"\xc0\x80\"}",               // an overlong NUL
      R"({"prompt": "\ud800"})",                  // a lone surrogate
      R"({"prompt": "\udc00\ud800"})",            // a pair the wrong way round
      std::string("{\"prompt\": \"a\0b\"}", 17),  // a bare NUL
      std::string("{\"prompt\": \"a\"}\0", 16),   // and one behind
      std::string(100'000, '['),
      std::string(100'000, '[') + std::string(100'000, ']'),
      R"({"prompt": )" + std::string(100'000, '[') + std::string(100'000, ']') + "}",
      [] {
        std::string text;
        for (int i = 0; i < 100'000; ++i) text += R"({"prompt":)";
        return text;
      }(),
  };
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"}) {
    for (const std::string& body : bodies) {
      SCOPED_TRACE(std::string(path) + " " + body.substr(0, 60));
      const auto answered = tester.send("POST", path, body);
      expect_refused(*answered, "body");
      EXPECT_LT(answered->body.size(), 1000u);
    }
  }
}

TEST(OpenAiFields, BodiesOfTooManyValuesAreRefused) {
  std::string many = R"({"prompt": [)";
  for (size_t i = 0; i <= kMaxBodyValues; ++i) many += "1,";
  many += "1]}";
  OpenAiTester tester;
  expect_refused(*tester.send("POST", "/v1/completions", many), "body");
  // Commas of a text are not values.
  EXPECT_TRUE(parse_body(R"({"prompt": ")" + std::string(kMaxBodyValues + 1, ',') + "\"}").ok());
}

// Escaped, a NUL is a character like others.
TEST(OpenAiFields, NulAndNoncharactersAreText) {
  OpenAiTester tester;
  const auto answered = tester.send("POST", "/v1/completions", R"({"prompt": "a\u0000b\uffff\ufdd0\ud83d\ude00"})");
  ASSERT_EQ(tester.engine.submitted.size(), 1u);
  const std::string text = tester.tokenizer_->decode(tester.engine.submitted[0].request.prompt, true);
  EXPECT_EQ(text, std::string("a\0b\xEF\xBF\xBF\xEF\xB7\x90\xF0\x9F\x98\x80", 13));
}

TEST(OpenAiFields, OthersAreIgnoredAndNullsCountAsAbsent) {
  OpenAiTester tester;
  const json body = {{"prompt", "Once"},      {"metadata", {{"a", 1}}}, {"service_tier", "auto"},
                     {"max_tokens", nullptr}, {"stop", nullptr},        {"logit_bias", nullptr},
                     {"seed", nullptr},       {"stream", nullptr},      {"temperature", nullptr},
                     {"user", nullptr},       {"tools", nullptr},       {"model", nullptr}};
  tester.post("/v1/completions", body);
  EXPECT_EQ(tester.engine.submitted.size(), 1u);
}

TEST(OpenAiFields, UnknownModelsAreNotFound) {
  OpenAiTester tester;
  for (const char* name : {"../x", "", "Quickstart", "quickstart/", "gpt-4"}) {
    for (const char* path : kPaths) {
      const auto answered = tester.send("POST", path, valid_body(path, "\"model\": " + json(name).dump()));
      EXPECT_EQ(answered->status, 404) << name;
      EXPECT_EQ(answered->json()["error"]["code"], 404);
      EXPECT_EQ(answered->json()["error"]["param"], "model");
    }
  }
  EXPECT_TRUE(tester.engine.submitted.empty());
}

TEST(OpenAiFields, WhatDoesNotFitTheContextIsRefused) {
  OpenAiTester tester;
  const auto expect_too_long = [&](const Answered& answered, const char* param) {
    expect_refused(answered, param);
    EXPECT_EQ(answered.json()["error"]["type"], "context_length_exceeded");
    EXPECT_NE(answered.body.find("maximum context length is 2048"), std::string::npos);
  };
  expect_too_long(*tester.post("/v1/completions", {{"prompt", json(2048, 5)}}), "prompt");
  expect_too_long(*tester.post("/v1/completions", {{"prompt", {json(3, 5), json(3000, 5)}}}), "prompt[1]");
  expect_too_long(*tester.post("/v1/completions", {{"prompt", json(2000, 5)}, {"max_tokens", 49}}), "max_tokens");
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "once upon ";
  expect_too_long(*tester.post("/v1/completions", {{"prompt", text}}), "prompt");
  const json messages = json::array({{{"role", "user"}, {"content", text}}});
  expect_too_long(*tester.post("/v1/chat/completions", {{"messages", messages}}), "messages");
  EXPECT_TRUE(tester.engine.submitted.empty());

  // What fits is taken.
  tester.post("/v1/completions", {{"prompt", json(2000, 5)}, {"max_tokens", 48}});
  tester.post("/v1/completions", {{"prompt", json(2040, 5)}});
  ASSERT_EQ(tester.engine.submitted.size(), 2u);
  EXPECT_EQ(tester.engine.submitted[1].request.max_tokens, 8);
}

TEST(OpenAiFields, MoreSequencesThanThereIsRoomForAreRefused) {
  OpenAiTester tester;
  tester.engine.facts_.max_seqs = 4;
  tester.engine.facts_.max_waiting = 4;
  expect_refused(*tester.post("/v1/completions", {{"prompt", "a"}, {"n", 9}}), "n");
  expect_refused(*tester.post("/v1/completions", {{"prompt", "a"}, {"best_of", 9}}), "best_of");
  expect_refused(*tester.post("/v1/completions", {{"prompt", json(9, "a")}}), "prompt");
  tester.post("/v1/completions", {{"prompt", json(4, "a")}, {"n", 2}});
  EXPECT_EQ(tester.engine.submitted.size(), 8u);
}

}  // namespace
}  // namespace cohort
