// Requests by KServe's protocol that must be refused, with a message that begins with what is at fault, before anything
// is handed to the engine.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr const char* kInfer = "/v2/models/quickstart/infer";
constexpr const char* kGenerate = "/v2/models/quickstart/generate";

void expect_error(const Answered& answered, const std::string& begin, int status = 400) {
  ASSERT_EQ(answered.status, status) << begin << ": " << answered.body;
  const json body = answered.json();
  ASSERT_TRUE(body["error"].is_string()) << body;
  EXPECT_TRUE(body["error"].get<std::string>().starts_with(begin)) << begin << ": " << body;
}

json tensor(const char* name, const char* datatype, const json& shape, const json& data) {
  return {{"name", name}, {"datatype", datatype}, {"shape", shape}, {"data", data}};
}

json text_input() { return tensor("text_input", "BYTES", {1, 1}, {"Once"}); }

json binary_tensor(const char* name, const char* datatype, const json& shape, const json& num_bytes) {
  return {{"name", name}, {"datatype", datatype}, {"shape", shape}, {"parameters", {{"binary_data_size", num_bytes}}}};
}

class KserveFields : public testing::Test {
 protected:
  ~KserveFields() override { EXPECT_TRUE(tester_.engine.submitted.empty()); }

  void refuses(const json& input, const std::string& begin, int status = 400) {
    expect_error(*tester_.post(kInfer, {{"inputs", {text_input(), input}}}), begin, status);
  }
  void refuses_text_input(const json& input, const std::string& begin) {
    expect_error(*tester_.post(kInfer, {{"inputs", {input}}}), begin);
  }
  std::shared_ptr<Answered> post_binary(const json& object, const std::string& binary) {
    const std::string text = object.dump();
    return tester_.send("POST", kInfer, text + binary,
                        {{"inference-header-content-length", std::to_string(text.size())}});
  }
  // An input of so many bytes behind a good JSON one.
  void refuses_binary(const json& input, const std::string& binary, const std::string& begin) {
    expect_error(*post_binary({{"inputs", {text_input(), input}}}, binary), begin);
  }

  OpenAiTester tester_;
};

TEST_F(KserveFields, ShapesThatAreWrong) {
  constexpr int64_t kHuge = int64_t{1} << 62;
  refuses_text_input(tensor("text_input", "BYTES", {2}, {"a", "b"}), "text_input: expected the shape");
  refuses_text_input(tensor("text_input", "BYTES", json::array(), {"a"}), "text_input: expected the shape");
  refuses_text_input(tensor("text_input", "BYTES", {1, 2}, {"a", "b"}), "text_input: expected the shape");
  refuses_text_input(tensor("text_input", "BYTES", {1, 1, 1}, {"a"}), "text_input: expected the shape");
  refuses_text_input(tensor("text_input", "BYTES", {0, 1}, json::array()), "text_input: expected the shape");
  refuses_text_input(tensor("text_input", "BYTES", {0}, json::array()), "text_input: expected the shape");
  refuses_text_input(tensor("text_input", "BYTES", {1025, 1}, json::array()), "text_input: expected the shape");
  refuses(tensor("max_tokens", "INT32", {2, 1}, {1, 2}), "max_tokens: expected the shape");
  refuses(tensor("max_tokens", "INT32", {2}, {1, 2}), "max_tokens: expected the shape");
  refuses(tensor("max_tokens", "INT32", {0}, json::array()), "max_tokens: expected the shape");
  refuses(tensor("stop_words", "BYTES", {1, 257}, json::array()), "stop_words: expected the shape");
  // Negative, not whole, too large, not numbers, too many.
  for (const json& dim : {json(-1), json(1.5), json("1"), json(nullptr), json(1e3), json(true), json::array({1})}) {
    refuses(tensor("max_tokens", "INT32", json::array({dim}), {1}), "inputs[1]: shape");
  }
  refuses(tensor("max_tokens", "INT32", {uint64_t{1} << 63}, {1}), "inputs[1]: shape");
  refuses(tensor("max_tokens", "INT32", json(std::vector<int>(9, 1)), {1}), "inputs[1]: shape");
  refuses(tensor("max_tokens", "INT32", "1", {1}), "inputs[1]: shape");
  refuses({{"name", "max_tokens"}, {"datatype", "INT32"}, {"data", {1}}}, "inputs[1]: shape");
  // Products beyond 64 bits, and sizes in bytes.
  refuses(tensor("max_tokens", "INT32", {kHuge, 4}, {1}), "inputs[1]: shape: more elements");
  refuses(tensor("max_tokens", "INT32", {int64_t{1} << 32, int64_t{1} << 32}, json::array()), "inputs[1]: shape");
  refuses(tensor("max_tokens", "INT32", {kHuge, 2, 0, 3}, json::array()), "inputs[1]: shape");
  refuses(binary_tensor("max_tokens", "INT32", {kHuge}, 0), "inputs[1]: binary_data_size");
  refuses(tensor("max_tokens", "INT32", {kHuge}, {1}), "max_tokens: expected the shape");
  EXPECT_TRUE(tester_.engine.submitted.empty());
}

TEST_F(KserveFields, DatatypesThatAreWrong) {
  refuses(tensor("max_tokens", "INT64", {1}, {1}), "max_tokens: expected the datatype INT32");
  refuses(tensor("temperature", "FP64", {1}, {1}), "temperature: expected the datatype FP32");
  refuses(tensor("temperature", "FP16", {1}, {1}), "temperature: expected the datatype FP32");
  refuses(tensor("max_tokens", "int32", {1}, {1}), "inputs[1]: datatype");
  refuses(tensor("max_tokens", "STRING", {1}, {1}), "inputs[1]: datatype");
  refuses({{"name", "max_tokens"}, {"datatype", 5}, {"shape", {1}}, {"data", {1}}}, "inputs[1]: datatype");
  refuses({{"name", "max_tokens"}, {"shape", {1}}, {"data", {1}}}, "inputs[1]: datatype");
  refuses_text_input(tensor("text_input", "INT32", {1}, {1}), "text_input: expected the datatype BYTES");
}

TEST_F(KserveFields, DataThatDoesNotFit) {
  refuses(tensor("max_tokens", "INT32", {1}, json::array()), "max_tokens: data: expected 1 elements");
  refuses(tensor("max_tokens", "INT32", {1}, {1, 2}), "max_tokens: data: expected 1 elements");
  refuses(tensor("max_tokens", "INT32", {1, 1}, {{1, 2}}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1, 1}, {{{1}}}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1, 1}, {{1}, {1}}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1}, 1), "inputs[1]: data");
  refuses({{"name", "max_tokens"}, {"datatype", "INT32"}, {"shape", {1}}}, "inputs[1]: data");
  refuses(tensor("max_tokens", "INT32", {1}, {"1"}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1}, {1.5}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1}, {2147483648}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1}, {-2147483649}), "max_tokens: data");
  refuses(tensor("max_tokens", "INT32", {1}, {nullptr}), "max_tokens: data");
  refuses(tensor("random_seed", "UINT64", {1}, {-1}), "random_seed: data");
  refuses(tensor("stream", "BOOL", {1}, {1}), "stream: data");
  refuses(tensor("temperature", "FP32", {1}, {true}), "temperature: data");
  refuses(tensor("stop_words", "BYTES", {1}, {5}), "stop_words: data");
}

TEST_F(KserveFields, ValuesOutOfRange) {
  refuses(tensor("max_tokens", "INT32", {1}, {0}), "max_tokens");
  refuses(tensor("max_tokens", "INT32", {1}, {-5}), "max_tokens");
  refuses(tensor("max_tokens", "INT32", {1}, {100'000}), "max_tokens");
  refuses(tensor("temperature", "FP32", {1}, {-1}), "temperature");
  refuses(tensor("temperature", "FP32", {1}, {1e308}), "temperature");
  refuses(tensor("top_p", "FP32", {1}, {0}), "top_p");
  refuses(tensor("top_k", "INT32", {1}, {-2}), "top_k");
  refuses(tensor("end_id", "INT32", {1}, {100'000}), "end_id");
  refuses(tensor("pad_id", "INT32", {1}, {-2}), "pad_id");
  refuses(tensor("stop_words", "BYTES", {1}, {std::string(2000, 'x')}), "stop_words");
  refuses(tensor("stop_words", "BYTES", {1, 17}, json(std::vector<std::string>(17, "x"))), "stop_words");
  refuses(tensor("stream", "BOOL", {1}, {true}), "stream");
  refuses(tensor("bad_words", "BYTES", {1}, {"several words of text"}), "bad_words", 501);
  refuses_text_input(tensor("text_input", "BYTES", {1}, {""}), "text_input");
  std::string longest;
  for (int i = 0; i < 3000; ++i) longest += "a b ";
  refuses_text_input(tensor("text_input", "BYTES", {1}, {longest}), "text_input");
  expect_error(*tester_.post(kInfer, {{"inputs",
                                       {tensor("text_input", "BYTES", {2, 1}, {"a", "b"}),
                                        tensor("max_tokens", "INT32", {2, 1}, {5, 0})}}}),
               "request 1 of the batch: max_tokens");
  tester_.engine.facts_.max_seqs = 1;
  tester_.engine.facts_.max_waiting = 1;
  expect_error(*tester_.post(kInfer, {{"inputs", {tensor("text_input", "BYTES", {3, 1}, {"a", "b", "c"})}}}),
               "text_input: 3 requests are more");
}

TEST_F(KserveFields, NamesThatAreWrongOrTwice) {
  refuses(text_input(), "inputs: expected each input once");
  refuses(tensor("prompt", "BYTES", {1}, {"a"}), "inputs: the model has no input \"prompt\"");
  refuses(tensor("", "BYTES", {1}, {"a"}), "inputs[1]: name");
  refuses(json(5), "inputs[1]: input");
  refuses_text_input(tensor("max_tokens", "INT32", {1}, {1}), "text_input: expected this input");
  const auto with_outputs = [&](const json& outputs) {
    return tester_.post(kInfer, {{"inputs", {text_input()}}, {"outputs", outputs}});
  };
  expect_error(*with_outputs({{{"name", "text_output"}}, {{"name", "text_output"}}}),
               "outputs: expected each output once");
  expect_error(*with_outputs(json::array({{{"name", "logits"}}})), "outputs: the model has no output \"logits\"");
  expect_error(*with_outputs(json::array({{{"name", "../x"}}})), "outputs: the model has no output");
  expect_error(*with_outputs(json::array({json::object()})), "outputs: the model has no output");
  expect_error(*with_outputs(json::array({5})), "outputs");
  expect_error(*with_outputs("text_output"), "outputs");
  expect_error(*with_outputs(json(std::vector<json>(65, json::object()))), "outputs");
  expect_error(*with_outputs(json::array({{{"name", "text_output"}, {"parameters", {{"binary_data", 1}}}}})),
               "outputs.parameters");
  expect_error(*with_outputs(json::array({{{"name", "text_output"}, {"parameters", {{"classification", 3}}}}})),
               "outputs.parameters.classification", 501);
  expect_error(*with_outputs(json::array({{{"name", "text_output"}, {"parameters", {{"shared_memory_region", "x"}}}}})),
               "outputs.parameters.shared_memory_region", 501);
}

TEST_F(KserveFields, RequestsThatAreNone) {
  for (const json& inputs : {json(), json::array(), json(5), json::object(), json(std::vector<int>(65, 1))}) {
    expect_error(*tester_.post(kInfer, {{"inputs", inputs}}), "inputs");
  }
  for (const char* body : {"", "[]", "{", "\xff", "{\"inputs\": [], \"inputs\": []}"}) {
    expect_error(*tester_.send("POST", kInfer, body), "body");
    expect_error(*tester_.send("POST", kGenerate, body), "body");
  }
  expect_error(*tester_.send("POST", kInfer, std::string(100'000, '[')), "body");
  for (const auto& [name, value] : {std::pair<std::string, json>{"priority", -1},
                                    {"priority", "high"},
                                    {"timeout", -5},
                                    {"timeout", 1.5},
                                    {"binary_data_output", 1},
                                    {"sequence_id", -1},
                                    {"sequence_id", 1.5},
                                    {"sequence_start", 1},
                                    {"sequence_end", "x"}}) {
    const json parameters = {{name, value}};
    expect_error(*tester_.post(kInfer, {{"inputs", {text_input()}}, {"parameters", parameters}}), "parameters." + name);
    expect_error(*tester_.post(kGenerate, {{"text_input", "a"}, {"parameters", parameters}}), name);
  }
  expect_error(*tester_.post(kInfer, {{"inputs", {text_input()}}, {"parameters", 5}}), "parameters");
  expect_error(*tester_.post(kInfer, {{"inputs", {text_input()}}, {"id", 5}}), "id");
}

TEST_F(KserveFields, GenerateNamesTheField) {
  for (const auto& [name, value] : {std::pair<std::string, json>{"max_tokens", -1},
                                    {"max_tokens", 1e308},
                                    {"max_tokens", "5"},
                                    {"temperature", -1},
                                    {"top_p", 2},
                                    {"top_k", 1.5},
                                    {"repetition_penalty", 0},
                                    {"random_seed", "x"},
                                    {"stop_words", 5},
                                    {"stop_words", {1}},
                                    {"bad_words", json::object()},
                                    {"stream", "yes"},
                                    {"stream", true},
                                    {"return_log_probs", 1},
                                    {"end_id", 4096},
                                    {"end_id", -2}}) {
    expect_error(*tester_.post(kGenerate, {{"text_input", "a"}, {"parameters", {{name, value}}}}), name);
    expect_error(*tester_.post(kGenerate, {{"text_input", "a"}, {name, value}}), name);
  }
  for (const json& text : {json(), json(""), json(5), json::array({"a"})}) {
    expect_error(*tester_.post(kGenerate, {{"text_input", text}}), "text_input");
  }
  expect_error(*tester_.post(kGenerate, {{"text_input", "a"}, {"top_k", 1}, {"parameters", {{"top_k", 1}}}}), "top_k");
  expect_error(*tester_.post(kGenerate, {{"text_input", "a"}, {"parameters", {1}}}), "parameters");
  expect_error(*tester_.post(kGenerate, {{"text_input", "a"}, {"min_tokens", 6}, {"max_tokens", 5}}), "min_tokens");
}

TEST_F(KserveFields, LengthsOfTheHeaderThatAreWrong) {
  const std::string body = json({{"inputs", {text_input()}}}).dump();
  for (const char* length : {"100000", "2147483647", "2147483648", "4294967296", "18446744073709551616", "-1", "+5",
                             "0x10", "5.0", "five", "1e2", " "}) {
    expect_error(*tester_.send("POST", kInfer, body, {{"inference-header-content-length", length}}),
                 "Inference-Header-Content-Length");
  }
  for (const char* length : {"0", "5"}) {
    expect_error(*tester_.send("POST", kInfer, body, {{"inference-header-content-length", length}}), "body");
  }
  const std::string right = std::to_string(body.size());
  expect_error(*tester_.send("POST", kInfer, body,
                             {{"inference-header-content-length", right}, {"inference-header-content-length", right}}),
               "Inference-Header-Content-Length");
}

TEST_F(KserveFields, BinaryDataThatDoesNotFit) {
  const std::string four("\1\0\0\0", 4);
  refuses_binary(binary_tensor("max_tokens", "INT32", {1}, 4), "", "inputs[1]: binary_data_size");
  refuses_binary(binary_tensor("max_tokens", "INT32", {1}, 4), four.substr(1), "inputs[1]: binary_data_size");
  refuses_binary(binary_tensor("max_tokens", "INT32", {1}, 3), four.substr(1), "inputs[1]: binary_data_size");
  refuses_binary(binary_tensor("max_tokens", "INT32", {1}, 8), four + four, "inputs[1]: binary_data_size");
  refuses_binary(binary_tensor("max_tokens", "INT32", {1}, 4), four + "x", "body: 1 bytes behind");
  refuses_binary(text_input(), "x", "inputs: expected each input once");
  for (const json& size : {json(-4), json("4"), json(4.5), json(9.3e18), json(uint64_t{1} << 63)}) {
    refuses_binary(binary_tensor("max_tokens", "INT32", {1}, size), four, "inputs[1]: parameters.binary_data_size");
  }
  refuses_binary(binary_tensor("max_tokens", "INT32", {1}, std::numeric_limits<int64_t>::max()), four,
                 "inputs[1]: binary_data_size");
  json both = binary_tensor("max_tokens", "INT32", {1}, 4);
  both["data"] = {1};
  refuses_binary(both, four, "inputs[1]: data");
  refuses_binary(binary_tensor("stream", "BOOL", {1}, 1), "\2", "stream: data");
  refuses_binary(binary_tensor("temperature", "FP32", {1}, 4), std::string("\0\0\xc0\x7f", 4), "temperature");  // NaN
  refuses_binary(binary_tensor("temperature", "FP32", {1}, 4), std::string("\0\0\x80\x7f", 4), "temperature");  // +inf
  json shared = tensor("max_tokens", "INT32", {1}, {1});
  shared["parameters"] = {{"shared_memory_region", "x"}, {"shared_memory_byte_size", 4}};
  refuses(shared, "inputs[1]: parameters.shared_memory_region", 501);
}

TEST_F(KserveFields, LengthsOfStringsThatAreWrong) {
  const auto refuses_bytes = [&](const std::string& bytes, const json& shape) {
    refuses_binary(binary_tensor("stop_words", "BYTES", shape, bytes.size()), bytes, "stop_words: data");
  };
  refuses_bytes("", {1});                              // no length
  refuses_bytes(std::string("\1\0\0", 3), {1});        // half a length
  refuses_bytes(std::string("\5\0\0\0abcd", 8), {1});  // one byte short
  refuses_bytes(std::string("\xff\xff\xff\xff"
                            "abcd",
                            8),
                {1});                                          // a length that wraps
  refuses_bytes(std::string("\3\0\0\0abcd", 8), {1});          // one byte left
  refuses_bytes(std::string("\1\0\0\0a", 5), {2});             // an element short
  refuses_bytes(std::string("\1\0\0\0a\0\0\0\0", 9), {1});     // one more
  refuses_bytes(std::string("\1\0\0\0\xff", 5), {1});          // not UTF-8
  refuses_bytes(std::string("\3\0\0\0\xed\xa0\x80", 7), {1});  // half a surrogate
}

}  // namespace
}  // namespace cohort
