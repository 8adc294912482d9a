// Inference by KServe's protocol, from a request to its answer: infer in JSON and in binary, generate, generate_stream.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr const char* kInfer = "/v2/models/quickstart/infer";
constexpr const char* kGenerate = "/v2/models/quickstart/generate";
constexpr const char* kGenerateStream = "/v2/models/quickstart/versions/1/generate_stream";

json tensor(const char* name, const char* datatype, const json& shape, const json& data) {
  return {{"name", name}, {"datatype", datatype}, {"shape", shape}, {"data", data}};
}

template <typename T>
std::string bytes_of(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string element(const std::string& text) { return bytes_of(static_cast<uint32_t>(text.size())) + text; }

json binary_tensor(const char* name, const char* datatype, const json& shape, size_t num_bytes) {
  return {{"name", name}, {"datatype", datatype}, {"shape", shape}, {"parameters", {{"binary_data_size", num_bytes}}}};
}

// Sends JSON and what follows it.
std::shared_ptr<Answered> post_binary(OpenAiTester& tester, const json& object, const std::string& binary) {
  const std::string text = object.dump();
  return tester.send("POST", kInfer, text + binary, {{"inference-header-content-length", std::to_string(text.size())}});
}

TEST(KserveInfer, AnswersInJson) {
  OpenAiTester tester;
  const auto answered = tester.post(
      kInfer, {{"id", "mine"},
               {"inputs",
                {tensor("text_input", "BYTES", {1}, {"Once"}), tensor("max_tokens", "INT32", {1, 1}, {{7}}),
                 tensor("temperature", "FP32", {1}, {0.5}), tensor("top_k", "INT32", {1}, {4}),
                 tensor("top_p", "FP32", {1}, {0.75}), tensor("min_p", "FP32", {1}, {0.125}),
                 tensor("repetition_penalty", "FP32", {1}, {1.5}), tensor("presence_penalty", "FP32", {1}, {-1}),
                 tensor("frequency_penalty", "FP32", {1}, {0.25}), tensor("random_seed", "UINT64", {1}, {~uint64_t{0}}),
                 tensor("min_tokens", "INT32", {1}, {2}), tensor("stream", "BOOL", {1}, {false})}},
               {"parameters", {{"priority", 3}, {"sequence_id", 0}, {"something", "else"}}}});
  ASSERT_EQ(tester.engine.submitted.size(), 1u) << answered->body;
  const GenerationRequest& request = tester.engine.submitted[0].request;
  EXPECT_EQ(request.prompt, tester.tokenizer_->encode("Once"));
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.min_tokens, 2);
  EXPECT_EQ(request.sampling.temperature, 0.5F);
  EXPECT_EQ(request.sampling.top_k, 4);
  EXPECT_EQ(request.sampling.top_p, 0.75F);
  EXPECT_EQ(request.sampling.min_p, 0.125F);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(request.sampling.presence_penalty, -1);
  EXPECT_EQ(request.sampling.frequency_penalty, 0.25F);
  EXPECT_EQ(request.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(request.priority, 3);
  EXPECT_EQ(request.tenant, "someone");
  EXPECT_EQ(request.name, "request-1");
  EXPECT_EQ(request.stop_ids, std::vector<int32_t>{1});
  tester.reply(0, " upon a time");
  EXPECT_EQ(answered->status, 200);
  EXPECT_EQ(answered->content_type, "application/json");
  EXPECT_EQ(answered->json(), json({{"model_name", "quickstart"},
                                    {"model_version", "1"},
                                    {"id", "mine"},
                                    {"outputs", {tensor("text_output", "BYTES", {1}, {" upon a time"})}}}));
  EXPECT_EQ(tester.api->service.num_active(), 0);
}

TEST(KserveInfer, ABatchIsAsManyRequests) {
  OpenAiTester tester;
  const auto answered = tester.post(
      kInfer, {{"inputs",
                {tensor("text_input", "BYTES", {3, 1}, {"Once", "upon", "a time"}),
                 tensor("max_tokens", "INT32", {3, 1}, {{5}, {6}, {7}}),
                 tensor("stop_words", "BYTES", {3, 2},
                        json::array({json::array({"x", ""}), json::array({"y", "z"}), json::array({"", ""})}))}},
               {"outputs", {{{"name", "num_output_tokens"}}, {{"name", "text_output"}}, {{"name", "finish_reason"}}}}});
  ASSERT_EQ(tester.engine.submitted.size(), 3u) << answered->body;
  EXPECT_EQ(tester.engine.submitted[1].request.prompt, tester.tokenizer_->encode("upon"));
  EXPECT_EQ(tester.engine.submitted[2].request.max_tokens, 7);
  EXPECT_EQ(tester.engine.submitted[1].request.name, "request-1/1");
  EXPECT_NE(tester.engine.submitted[0].request.sampling.seed, tester.engine.submitted[1].request.sampling.seed);
  tester.reply(2, " one xyz", FinishReason::kStop);  // its last token does not show
  tester.reply(0, " two x more");
  EXPECT_EQ(answered->status, 0);
  tester.reply(1, " three");
  const json outputs = answered->json()["outputs"];
  ASSERT_EQ(outputs.size(), 3u);
  EXPECT_EQ(outputs[0]["name"], "num_output_tokens");
  EXPECT_EQ(outputs[0]["datatype"], "UINT32");
  EXPECT_EQ(outputs[0]["data"][1], tester.ids(" three").size());
  EXPECT_EQ(outputs[1]["shape"], json({3, 1}));
  EXPECT_EQ(outputs[1]["data"][0], " two ");
  EXPECT_EQ(outputs[1]["data"][1], " three");
  EXPECT_EQ(outputs[2]["data"], json({"stop", "length", "stop"}));
  EXPECT_FALSE(answered->json().contains("id"));
}

TEST(KserveInfer, BinaryBothWays) {
  OpenAiTester tester;
  const std::string texts = element("Once") + element("upon");
  const std::string binary = texts + bytes_of<int32_t>(5) + bytes_of<int32_t>(6) + bytes_of(0.5F) + bytes_of(0.0F) +
                             bytes_of<uint64_t>(1) + bytes_of(~uint64_t{0}) + std::string("\0\1", 2);
  const auto answered = post_binary(
      tester,
      {{"inputs",
        {binary_tensor("text_input", "BYTES", {2, 1}, texts.size()), binary_tensor("max_tokens", "INT32", {2, 1}, 8),
         binary_tensor("temperature", "FP32", {2, 1}, 8), tensor("top_k", "INT32", {2, 1}, {1, 2}),
         binary_tensor("random_seed", "UINT64", {2, 1}, 16), binary_tensor("return_log_probs", "BOOL", {2, 1}, 2)}},
       {"parameters", {{"binary_data_output", true}}}},
      binary);
  ASSERT_EQ(tester.engine.submitted.size(), 2u) << answered->body;
  EXPECT_EQ(tester.engine.submitted[1].request.prompt, tester.tokenizer_->encode("upon"));
  EXPECT_EQ(tester.engine.submitted[1].request.max_tokens, 6);
  EXPECT_EQ(tester.engine.submitted[0].request.sampling.temperature, 0.5F);
  EXPECT_EQ(tester.engine.submitted[1].request.sampling.temperature, 0);
  EXPECT_EQ(tester.engine.submitted[1].request.sampling.top_k, 2);
  EXPECT_EQ(tester.engine.submitted[1].request.sampling.seed, ~uint64_t{0});
  const std::vector<int32_t> one = tester.ids(" one");
  tester.engine.send_tokens(0, one);
  tester.reply(1, " one two three");
  EXPECT_EQ(answered->content_type, "application/octet-stream");
  const auto num_json = std::stoul(answered->headers["Inference-Header-Content-Length"]);
  ASSERT_LT(num_json, answered->body.size());
  const json object = json::parse(answered->body.substr(0, num_json));
  const std::string behind = answered->body.substr(num_json);
  const size_t num_longest = tester.ids(" one two three").size();
  const std::string text_bytes = element(" one") + element(" one two three");
  ASSERT_EQ(object["outputs"].size(), 3u);
  EXPECT_EQ(object["outputs"][0], binary_tensor("text_output", "BYTES", {2, 1}, text_bytes.size()));
  EXPECT_EQ(object["outputs"][1], binary_tensor("cum_log_probs", "FP32", {2, 1}, 8));
  EXPECT_EQ(object["outputs"][2], binary_tensor("output_log_probs", "FP32", {2, num_longest}, 8 * num_longest));
  ASSERT_EQ(behind.size(), text_bytes.size() + 8 + 8 * num_longest);
  EXPECT_EQ(behind.substr(0, text_bytes.size()), text_bytes);
  std::vector<float> logprobs(2 + 2 * num_longest);
  std::memcpy(logprobs.data(), behind.data() + text_bytes.size(), 4 * logprobs.size());
  EXPECT_EQ(logprobs[0], -0.5F * static_cast<float>(one.size()));
  EXPECT_EQ(logprobs[1], -0.5F * static_cast<float>(num_longest));
  for (size_t i = 0; i < num_longest; ++i) {
    EXPECT_EQ(logprobs[2 + i], i < one.size() ? -0.5F : 0) << i;
    EXPECT_EQ(logprobs[2 + num_longest + i], -0.5F) << i;
  }
}

TEST(KserveInfer, AnOutputSaysForItselfWhetherItIsBinary) {
  OpenAiTester tester;
  const auto answered =
      tester.post(kInfer, {{"inputs", {tensor("text_input", "BYTES", {1, 1}, {"Once"})}},
                           {"parameters", {{"binary_data_output", true}}},
                           {"outputs",
                            {{{"name", "text_output"}, {"parameters", {{"binary_data", false}}}},
                             {{"name", "num_input_tokens"}},
                             {{"name", "cum_log_probs"}, {"parameters", {{"binary_data", false}}}}}}});
  ASSERT_EQ(tester.engine.submitted.size(), 1u) << answered->body;
  EXPECT_TRUE(tester.engine.submitted[0].request.logprob);  // its output is wanted
  tester.engine.send_token(0, tester.ids(" one").at(0), FinishReason::kLength);
  const auto num_json = std::stoul(answered->headers["Inference-Header-Content-Length"]);
  const json outputs = json::parse(answered->body.substr(0, num_json))["outputs"];
  EXPECT_EQ(outputs[0], tensor("text_output", "BYTES", {1, 1}, {" one"}));
  EXPECT_EQ(outputs[1], binary_tensor("num_input_tokens", "UINT32", {1, 1}, 4));
  EXPECT_EQ(outputs[2], tensor("cum_log_probs", "FP32", {1, 1}, {-0.5}));
  EXPECT_EQ(answered->body.substr(num_json), bytes_of(static_cast<uint32_t>(tester.tokenizer_->encode("Once").size())));
}

TEST(KserveInfer, LogprobsThatAreInfiniteAreShownAsLeast) {
  OpenAiTester tester;
  const auto answered = tester.post(kInfer, {{"inputs", {tensor("text_input", "BYTES", {1}, {"Once"})}},
                                             {"outputs", {{{"name", "output_log_probs"}}}}});
  EngineEvent event;
  event.token = tester.ids("a").at(0);
  event.logprob = -INFINITY;
  event.finish = FinishReason::kLength;
  tester.engine.send(0, event);
  EXPECT_EQ(answered->json()["outputs"][0]["data"], json({-9999.0}));
}

TEST(KserveInfer, TheWordsOfAClientAndTheEndToken) {
  OpenAiTester tester;
  const int32_t banned = tester.ids("b").at(0);
  tester.post(kGenerate,
              {{"text_input", "Once"},
               {"parameters", {{"stop_words", "stop"}, {"bad_words", {"b", ""}}, {"end_id", 7}, {"pad_id", 0}}}});
  ASSERT_EQ(tester.engine.submitted.size(), 1u);
  const GenerationRequest& request = tester.engine.submitted[0].request;
  EXPECT_EQ(request.stop_ids, std::vector<int32_t>{7});
  const auto& biases = request.sampling.logit_bias;
  EXPECT_TRUE(std::any_of(biases.begin(), biases.end(), [&](const auto& bias) { return bias.first == banned; }));
  tester.post(kGenerate, {{"text_input", "Once"}, {"end_id", -1}, {"stop_words", ""}, {"bad_words", ""}});
  EXPECT_TRUE(tester.engine.submitted.at(1).request.stop_ids.empty());
}

TEST(KserveGenerate, AnswersWhole) {
  OpenAiTester tester;
  const auto answered = tester.post(
      kGenerate, {{"id", "mine"}, {"text_input", "Once"}, {"parameters", {{"max_tokens", 5}, {"stream", false}}}});
  EXPECT_EQ(tester.engine.submitted.at(0).request.max_tokens, 5);
  tester.reply(0, " upon");
  EXPECT_EQ(answered->json(), json({{"model_name", "quickstart"},
                                    {"model_version", "1"},
                                    {"id", "mine"},
                                    {"text_output", " upon"},
                                    {"finish_reason", "length"}}));
  // What TensorRT-LLM's clients send.
  const auto flat = tester.post(kGenerate, {{"text_input", "Once"},
                                            {"max_tokens", 6},
                                            {"bad_words", ""},
                                            {"stop_words", ""},
                                            {"return_log_probs", true},
                                            {"exclude_input_in_output", false}});
  EXPECT_EQ(tester.engine.submitted.at(1).request.max_tokens, 6);
  tester.engine.send_token(1, tester.ids(" upon").at(0), FinishReason::kLength);
  const json body = flat->json();
  EXPECT_TRUE(body["text_output"].get<std::string>().starts_with("Once"));
  EXPECT_EQ(body["cum_log_probs"], -0.5);
  EXPECT_EQ(body["output_log_probs"], json({-0.5}));
}

TEST(KserveGenerate, Streams) {
  OpenAiTester tester;
  const auto answered = tester.post(
      kGenerateStream,
      {{"text_input", "Once"}, {"parameters", {{"exclude_input_in_output", false}, {"return_log_probs", true}}}});
  EXPECT_EQ(answered->status, 0);  // until there is a token
  tester.reply(0, " upon a time");
  EXPECT_EQ(answered->content_type, "text/event-stream");
  const auto events = answered->events(/*has_done=*/false);
  const size_t num_tokens = tester.ids(" upon a time").size();
  ASSERT_EQ(events.size(), num_tokens);
  std::string text;
  for (const json& event : events) {
    EXPECT_EQ(event["model_name"], "quickstart");
    EXPECT_EQ(event.contains("finish_reason"), &event == &events.back());
    text += event["text_output"].get<std::string>();
  }
  EXPECT_EQ(text, "Once upon a time");
  EXPECT_EQ(events.back()["cum_log_probs"], -0.5 * static_cast<double>(num_tokens));
}

TEST(KserveGenerate, AStreamThatIsNotWantedIsOneEvent) {
  OpenAiTester tester;
  const auto answered = tester.post(kGenerateStream, {{"text_input", "Once"}, {"stream", false}});
  tester.reply(0, " upon a time");
  const auto events = answered->events(/*has_done=*/false);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["text_output"], " upon a time");
}

TEST(KserveGenerate, ErrorsEndAnAnswerAndAStream) {
  OpenAiTester tester;
  const auto whole = tester.post(kGenerate, {{"text_input", "Once"}});
  tester.engine.send_status(0, {StatusCode::kResourceExhausted, "the queue is full"});
  EXPECT_EQ(whole->status, 503);
  EXPECT_EQ(whole->headers.count("Retry-After"), 1u);
  EXPECT_EQ(whole->json(), json({{"error", "the queue is full"}}));
  const auto stream = tester.post(kGenerateStream, {{"text_input", "Once"}});
  tester.engine.send_token(1, tester.ids("one").at(0));
  tester.api->service.fail_all("the server is shutting down");
  EXPECT_TRUE(stream->has_ended);
  EXPECT_EQ(stream->events(/*has_done=*/false).back(), json({{"error", "the server is shutting down"}}));
  EXPECT_EQ(tester.engine.num_open(), 0u);
  EXPECT_EQ(tester.post(kGenerate, {{"text_input", "Once"}})->status, 503);

  OpenAiTester other;
  const auto infer = other.post(kInfer, {{"inputs", {tensor("text_input", "BYTES", {2, 1}, {"Once", "upon"})}}});
  EngineEvent event;
  event.finish = FinishReason::kError;
  other.engine.send(1, event);
  EXPECT_EQ(infer->status, 500);
  EXPECT_TRUE(other.engine.submitted[0].is_cancelled);
}

TEST(KserveGenerate, AClientThatGoesIsCancelled) {
  OpenAiTester tester;
  const auto stream = tester.post(kGenerateStream, {{"text_input", "Once"}});
  tester.engine.send_token(0, tester.ids("one").at(0));
  stream->go();
  EXPECT_TRUE(tester.engine.submitted[0].is_cancelled);
  EXPECT_EQ(tester.api->service.num_active(), 0);
}

TEST(KserveGenerate, ATimeoutEndsARequest) {
  OpenAiTester tester;
  const auto late = tester.post(kGenerate, {{"text_input", "Once"}, {"parameters", {{"timeout", 5'000'000}}}});
  ASSERT_EQ(tester.api->timers.size(), 1u);
  EXPECT_LE(tester.api->timers[0].delay.count(), 5'000'000);
  EXPECT_GT(tester.api->timers[0].delay.count(), 1'000'000);
  tester.api->timers[0].function();
  EXPECT_EQ(late->status, 503);
  EXPECT_NE(late->body.find("timeout"), std::string::npos);
  EXPECT_TRUE(tester.engine.submitted[0].is_cancelled);
  EXPECT_TRUE(tester.api->timers[0].is_held.expired());

  const auto in_time = tester.post(kGenerate, {{"text_input", "Once"}, {"parameters", {{"timeout", 5'000'000}}}});
  EXPECT_FALSE(tester.api->timers.at(1).is_held.expired());
  tester.reply(1, " upon");
  EXPECT_EQ(in_time->status, 200);
  EXPECT_TRUE(tester.api->timers.at(1).is_held.expired());
  tester.post(kGenerate, {{"text_input", "Once"}, {"parameters", {{"timeout", 0}}}});
  tester.post(kGenerate, {{"text_input", "Once"}, {"parameters", {{"timeout", 9223372036854775807}}}});
  EXPECT_EQ(tester.api->timers.size(), 2u);
}

}  // namespace
}  // namespace cohort
