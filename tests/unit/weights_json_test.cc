#include <gtest/gtest.h>

#include <string>

#include "runtime/json/json.h"
#include "tests/files.h"
#include "tests/unit/weights_test_files.h"

namespace cohort {
namespace {

using nlohmann::json;
using test::TemporaryDirectory;
using test::write_file;

void expect_error(std::string_view text, std::string_view message) {
  const Result<json> result = parse_json(text, "f.json");
  ASSERT_FALSE(result.ok()) << text.substr(0, 100);
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(result.status().message().starts_with(message)) << result.status().message();
}

TEST(Json, ParsesWhatNlohmannParses) {
  const std::string text =
      R"( {"a": [1, -2, 3.5, true, false, null, "x\u00e9\n"], "b": {"c": {}, "d": []}, "e": 18446744073709551615} )";
  const Result<json> result = parse_json(text, "f.json");
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(*result, json::parse(text));
  EXPECT_EQ(*parse_json("3", "f.json"), json(3));
  EXPECT_EQ(*parse_json("[[], [1, [2]], {}]", "f.json"), json::parse("[[], [1, [2]], {}]"));
}

TEST(Json, SaysLineAndColumnOfASyntaxError) {
  expect_error("{\n  \"a\": 1,\n  \"b\": x\n}", "f.json:3:8: syntax error");
  expect_error("", "f.json:1:1: ");
  expect_error("{\"a\": 1", "f.json:1:8: ");
  expect_error("{} {}", "f.json:1:4: ");
  expect_error("{\"a\": NaN}", "f.json:1:7: ");
  expect_error("[1e999]", "f.json:1:6: number overflow");
  expect_error("\"\xff\"", "f.json:1:2: ");
}

TEST(Json, RefusesDuplicateKeys) {
  expect_error("{\"a\": 1,\n \"b\": {\"c\": 1,\n  \"c\": 2}}", "f.json:3:3: duplicate key \"c\"");
  expect_error(R"({"x\"y": 1, "x\"y": 2})", R"(f.json:1:13: duplicate key "x\"y")");
  EXPECT_TRUE(parse_json(R"({"a": {"a": 1}, "b": {"a": 1}})", "f.json").ok());
}

TEST(Json, RefusesDeepNesting) {
  const int depth = 100'000;
  expect_error(std::string(depth, '[') + std::string(depth, ']'), "f.json:1:129: nested deeper than 128");
  std::string objects;
  for (int i = 0; i < depth; ++i) objects += "{\"a\":";
  expect_error(objects, "f.json:1:641: nested deeper than 128");
  EXPECT_TRUE(parse_json(std::string(128, '[') + std::string(128, ']'), "f.json").ok());
  EXPECT_FALSE(parse_json("[[]]", "f.json", 1).ok());
}

TEST(Json, ReadsAFile) {
  const TemporaryDirectory directory;
  write_file(directory / "config.json", "{\"hidden_size\": 64}");
  const Result<json> config = read_json_file(directory / "config.json");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ((*config)["hidden_size"], 64);

  const Result<json> missing = read_json_file(directory / "none.json");
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(missing.status().message(), (directory / "none.json").string() + ": no such file");
  EXPECT_NE(read_json_file(directory.path()).status().message().find("regular file"), std::string::npos);

  const Result<json> large = read_json_file(directory / "config.json", 10);
  EXPECT_EQ(large.status().message(), (directory / "config.json").string() + ": 19 bytes, expected at most 10");

  write_file(directory / "bad.json", "{\n\"a\": }");
  EXPECT_TRUE(read_json_file(directory / "bad.json")
                  .status()
                  .message()
                  .starts_with((directory / "bad.json").string() + ":2:6: "));
}

}  // namespace
}  // namespace cohort
