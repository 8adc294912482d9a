// The configuration: what is read from where, and what is said of every kind of mistake.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "runtime/config/config_loader.h"
#include "runtime/config/config_value.h"
#include "runtime/config/near_miss.h"
#include "tests/files.h"

namespace cohort {
namespace {

Result<Config> load(std::string_view yaml, NamedTexts flags = {}, NamedTexts environment = {}) {
  return load_config_text(yaml, {.file = "x.yaml", .flags = std::move(flags), .environment = std::move(environment)});
}

std::string error(std::string_view yaml, NamedTexts flags = {}, NamedTexts environment = {}) {
  const auto config = load(yaml, std::move(flags), std::move(environment));
  if (config.ok()) return "accepted";
  EXPECT_EQ(config.status().code(), StatusCode::kInvalidArgument);
  return config.status().message();
}

const std::string& origin(const Config& config, std::string_view path) {
  return config.origins.at(static_cast<size_t>(find_config_key(path) - config_keys().data()));
}

TEST(ConfigKeys, AreWellFormed) {
  std::set<std::string> names;
  std::set<std::string_view> sections;
  std::string_view section;
  for (const ConfigKey& key : config_keys()) {
    EXPECT_TRUE(names.insert(std::string(key.path)).second) << key.path;
    EXPECT_TRUE(names.insert(std::string(key.flag)).second) << key.flag;
    EXPECT_TRUE(names.insert(key.environment()).second) << key.environment();
    EXPECT_TRUE(key.short_flag.empty() || names.insert(std::string(key.short_flag)).second) << key.short_flag;
    EXPECT_EQ(std::string(key.section()) + "." + std::string(key.name()), key.path);
    EXPECT_TRUE(key.flag.starts_with("--")) << key.flag;
    EXPECT_EQ(key.flag.find('_'), std::string_view::npos) << key.flag;
    EXPECT_FALSE(key.help.empty()) << key.path;
    EXPECT_TRUE(key.section() == section || sections.insert(key.section()).second) << "apart: " << key.path;
    section = key.section();
    EXPECT_EQ(find_config_key(key.path), &key);
    EXPECT_EQ(find_config_key(key.flag), &key);
  }
  EXPECT_EQ(find_config_key("--tp"), find_config_key("parallel.tensor_parallel_size"));
  EXPECT_EQ(find_config_key("--tensor-parallel-size")->environment(), "COHORT_TENSOR_PARALLEL_SIZE");
  EXPECT_EQ(find_config_key("cache.memory_fraction")->environment(), "COHORT_CACHE_MEMORY_FRACTION");
  EXPECT_EQ(find_config_key("no.such"), nullptr);
  EXPECT_EQ(find_config_key(""), nullptr);
}

// A field must be its own: set one, and nothing else may change.
TEST(ConfigKeys, ReachTheirOwnFields) {
  const Config defaults;
  for (const ConfigKey& key : config_keys()) {
    Config config;
    ConfigValue value = key.field.get(config);
    std::visit(
        [](auto& v) {
          if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) {
            v += "x";
          } else {
            v += 1;
          }
        },
        value);
    key.field.set(config, value);
    for (const ConfigKey& other : config_keys()) {
      EXPECT_EQ(other.field.get(config) == other.field.get(defaults), &other != &key) << key.path << other.path;
    }
    EXPECT_FALSE(config == defaults) << key.path;
  }
}

TEST(ConfigKeys, DefaultsAreWhatTheTableAllows) {
  for (const ConfigKey& key : config_keys()) {
    const ConfigValue value = key.field.get(Config{});
    std::string text = print_config_value(key, value);
    if (std::holds_alternative<FreeText>(key.limits)) text = std::get<std::string>(value);
    const auto parsed = parse_config_value(key, text);
    ASSERT_TRUE(parsed.ok()) << key.path << parsed.status().message();
    EXPECT_EQ(*parsed, value) << key.path;
  }
}

TEST(ConfigLoader, NothingAtAllIsTheDefaults) {
  for (const char* yaml : {"", "\n", "# only a comment\n", "---\n", "~", "{}", "cache:\n", "cache: {}\nmodel:\n"}) {
    const auto config = load(yaml);
    ASSERT_TRUE(config.ok()) << yaml << config.status().message();
    EXPECT_EQ(*config, Config{}) << yaml;
    EXPECT_EQ(origin(*config, "cache.block_size"), "default");
  }
}

TEST(ConfigLoader, ReadsEveryType) {
  const auto config = load(R"(
model: {path: "a b", weights: random, random_seed: 18446744073709551615, dtype: "bfloat16"}
parallel:
  tensor_parallel_size: 8
cache:
  memory_fraction: 0.25
  num_blocks: 0
server:
  host: 0.0.0.0
  port: 65535
)");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->model.path, "a b");
  EXPECT_EQ(config->model.weights, "random");
  EXPECT_EQ(config->model.random_seed, ~uint64_t{0});
  EXPECT_EQ(config->model.dtype, "bfloat16");
  EXPECT_EQ(config->parallel.tensor_parallel_size, 8);
  EXPECT_EQ(config->num_ranks(), 8);
  EXPECT_EQ(config->cache.memory_fraction, 0.25);
  EXPECT_EQ(config->server.host, "0.0.0.0");
  EXPECT_EQ(config->server.port, 65535);
  EXPECT_EQ(origin(*config, "model.dtype"), "x.yaml:2");
  EXPECT_EQ(origin(*config, "parallel.tensor_parallel_size"), "x.yaml:4");
  EXPECT_EQ(origin(*config, "server.port"), "x.yaml:10");
}

TEST(ConfigLoader, CommandLineOverEnvironmentOverFileOverDefault) {
  const std::string yaml = "cache:\n  block_size: 2\n";
  const NamedTexts environment = {{"COHORT_BLOCK_SIZE", "3"}};
  const NamedTexts flags = {{"--block-size", "4"}};
  const auto expect = [](const Result<Config>& config, int64_t value, std::string_view from) {
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_EQ(config->cache.block_size, value);
    EXPECT_EQ(origin(*config, "cache.block_size"), from);
  };
  expect(load(""), 16, "default");
  expect(load(yaml), 2, "x.yaml:2");
  expect(load(yaml, {}, environment), 3, "COHORT_BLOCK_SIZE");
  expect(load(yaml, flags, environment), 4, "--block-size");
  expect(load(yaml, flags), 4, "--block-size");
  expect(load("", {{"cache.block_size", "5"}}), 5, "cache.block_size");
  // What is overridden is checked nevertheless.
  EXPECT_EQ(error("cache:\n  block_size: 0\n", flags, environment),
            "x.yaml:2: cache.block_size: expected 1 to 1024, got 0");
  EXPECT_EQ(error(yaml, flags, {{"COHORT_BLOCK_SIZE", "0"}}), "COHORT_BLOCK_SIZE: expected 1 to 1024, got 0");
}

TEST(ConfigLoader, UnknownNames) {
  EXPECT_EQ(error("parallel:\n  tensor_paralel_size: 2\n"),
            "x.yaml:2: parallel.tensor_paralel_size: unknown key, did you mean tensor_parallel_size?");
  EXPECT_EQ(error("parallel:\n  block_size: 2\n"),
            "x.yaml:2: parallel.block_size: unknown key, did you mean cache.block_size?");
  EXPECT_EQ(error("device:\n  colour: red\n"), "x.yaml:2: device.colour: unknown key, expected one of kind, threads");
  EXPECT_EQ(error("\n\nparalel:\n  replicas: 2\n"), "x.yaml:3: paralel: unknown section, did you mean parallel?");
  EXPECT_EQ(error("port: 2\n"), "x.yaml:1: port: unknown section, did you mean server.port?");
  EXPECT_EQ(error("cache.block_size: 2\n"),
            "x.yaml:1: cache.block_size: unknown section, did you mean cache.block_size?");
  EXPECT_EQ(error("zebra: {}\n"),
            "x.yaml:1: zebra: unknown section, expected one of model, parallel, device, cache, scheduler, health, "
            "server, metrics, logging");
  EXPECT_EQ(error("cache: {\"a\\nb\": 1}\n"),
            "x.yaml:1: cache.\"a\\nb\": unknown key, expected one of block_size, memory_fraction, num_blocks");
}

TEST(ConfigLoader, DuplicateKeysNameBothLines) {
  EXPECT_EQ(error("cache:\n  block_size: 2\nmodel:\n  path: a\ncache:\n  num_blocks: 2\n"),
            "x.yaml:5: cache: duplicate key, first on line 1");
  EXPECT_EQ(error("cache:\n  block_size: 2\n  num_blocks: 1\n  block_size: 2\n"),
            "x.yaml:4: cache.block_size: duplicate key, first on line 2");
  EXPECT_EQ(error("cache: {block_size: 2, \"block_size\": 2}\n"),
            "x.yaml:1: cache.block_size: duplicate key, first on line 1");
  EXPECT_EQ(error("cache:\n  block_size:\n    - {a: {b: 1,\n       b: 2}}\n"),
            "x.yaml:4: cache.block_size.a.b: duplicate key, first on line 3");
}

TEST(ConfigLoader, WrongTypes) {
  const auto of_block_size = [](const std::string& value) {
    const std::string where = "x.yaml:2: cache.block_size: ";
    const std::string message = error("cache:\n  block_size: " + value + "\n");
    EXPECT_TRUE(message.starts_with(where)) << message;
    return message.substr(std::min(where.size(), message.size()));
  };
  EXPECT_EQ(of_block_size("two"), "expected an integer, got \"two\"");
  EXPECT_EQ(of_block_size("\"2\""), "expected an integer, got the text \"2\"");
  EXPECT_EQ(of_block_size("2.0"), "expected an integer, got \"2.0\"");
  EXPECT_EQ(of_block_size("010"), "expected an integer, got \"010\"");
  EXPECT_EQ(of_block_size("0x10"), "expected an integer, got \"0x10\"");
  EXPECT_EQ(of_block_size("+2"), "expected an integer, got \"+2\"");
  EXPECT_EQ(of_block_size("true"), "expected an integer, got \"true\"");
  EXPECT_EQ(of_block_size(""), "expected an integer, got nothing");
  EXPECT_EQ(of_block_size("[2]"), "expected an integer, got a list");
  EXPECT_EQ(of_block_size("{a: 2}"), "expected an integer, got a map");
  EXPECT_EQ(of_block_size(std::string(100, 'a')), "expected an integer, got \"" + std::string(57, 'a') + "\"...");
  EXPECT_EQ(error("cache:\n  memory_fraction: much\n"),
            "x.yaml:2: cache.memory_fraction: expected a number, got \"much\"");
  EXPECT_EQ(error("cache:\n  memory_fraction: '0.5'\n"),
            "x.yaml:2: cache.memory_fraction: expected a number, got the text \"0.5\"");
  EXPECT_EQ(error("model:\n  path: 13\n"), "x.yaml:2: model.path: expected a text, got 13 without quotes");
  EXPECT_EQ(error("model:\n  path: true\n"), "x.yaml:2: model.path: expected a text, got true without quotes");
  EXPECT_EQ(error("model:\n  path: |\n    a\n"),
            "x.yaml:2: model.path: expected UTF-8 text without control characters, got \"a\\n\"");
  EXPECT_EQ(error("model: a\n"),
            "x.yaml:1: model: expected a map with any of path, weights, random_seed, dtype, max_model_len, numerics");
  EXPECT_EQ(error("model: [a]\n"),
            "x.yaml:1: model: expected a map with any of path, weights, random_seed, dtype, max_model_len, numerics");
  EXPECT_EQ(error("- a\n"), "x.yaml:1: expected a map of sections");
  EXPECT_EQ(error("\nhello\n"), "x.yaml:2: expected a map of sections");
}

TEST(ConfigLoader, OutOfRangeAndNotAChoice) {
  for (const char* value : {"0", "-1", "1025", "99999999999999999999", "-99999999999999999999"}) {
    EXPECT_EQ(error("cache:\n  block_size: " + std::string(value)),
              "x.yaml:2: cache.block_size: expected 1 to 1024, got " + std::string(value));
  }
  for (const char* value : {"-1", "18446744073709551616"}) {
    EXPECT_EQ(error("model:\n  random_seed: " + std::string(value)),
              "x.yaml:2: model.random_seed: expected 0 to 18446744073709551615, got " + std::string(value));
  }
  for (const char* value : {"0", "0.981", "1e400", "-0.5"}) {
    EXPECT_EQ(error("cache:\n  memory_fraction: " + std::string(value)),
              "x.yaml:2: cache.memory_fraction: expected 0.01 to 0.98, got " + std::string(value));
  }
  for (const char* value : {"nan", ".nan", ".inf", "0.5x"}) {
    EXPECT_EQ(error("cache:\n  memory_fraction: " + std::string(value)),
              "x.yaml:2: cache.memory_fraction: expected a number, got \"" + std::string(value) + "\"");
  }
  EXPECT_EQ(error("model:\n  dtype: int3\n"),
            "x.yaml:2: model.dtype: expected auto, float32, bfloat16 or float16, got \"int3\"");
  EXPECT_EQ(error("model:\n  weights:\n"), "x.yaml:2: model.weights: expected checkpoint or random, got nothing");
  EXPECT_EQ(error("server:\n  host: ''\n"), "x.yaml:2: server.host: expected a text, got an empty one");
  EXPECT_TRUE(load("model:\n  path: ''\n").ok());
}

TEST(ConfigLoader, HeartbeatsMustFitTheirTimeout) {
  EXPECT_TRUE(load("health: {heartbeat_interval_ms: 500, heartbeat_timeout_ms: 1000}").ok());
  EXPECT_EQ(error("health:\n  heartbeat_interval_ms: 500\n  heartbeat_timeout_ms: 999\n"),
            "x.yaml:3: health.heartbeat_timeout_ms: expected at least 2 x heartbeat_interval_ms (1000), got 999");
  EXPECT_EQ(error("health:\n  heartbeat_interval_ms: 2001\n"),
            "x.yaml:2: health.heartbeat_timeout_ms: expected at least 2 x heartbeat_interval_ms (4002), got 4000");
  EXPECT_EQ(error("", {{"--heartbeat-timeout-ms", "900"}}),
            "--heartbeat-timeout-ms: health.heartbeat_timeout_ms: expected at least 2 x heartbeat_interval_ms (1000), "
            "got 900");
}

TEST(ConfigLoader, YamlThatIsNotForConfigurations) {
  EXPECT_EQ(error("cache:\n  block_size: 2\n---\ncache: {}\n"), "x.yaml:3: a second document, expected one");
  EXPECT_EQ(error("cache: &a {}\nmodel: *a\n"), "x.yaml:1: anchors and aliases are not supported");
  EXPECT_EQ(error("model:\n  path: &a x\n"), "x.yaml:2: anchors and aliases are not supported");
  EXPECT_EQ(error("cache:\n  block_size: !!int 2\n"),
            "x.yaml:2: tags are not supported, got \"tag:yaml.org,2002:int\"");
  EXPECT_EQ(error("cache: !x {}\n"), "x.yaml:1: tags are not supported, got \"!x\"");
  EXPECT_EQ(error("? [a]\n: 1\n"), "x.yaml:1: expected a name as a key, got a map or a list");
  EXPECT_EQ(error("~: 1\n"), "x.yaml:1: expected a name as a key, got nothing");
  // The words are yaml-cpp's, the line is ours.
  EXPECT_TRUE(error("cache:\n  <<: *a\n").starts_with("x.yaml:2: ")) << error("cache:\n  <<: *a\n");
  EXPECT_TRUE(error("cache:\n  block_size: [2\n").starts_with("x.yaml:")) << error("cache:\n  block_size: [2\n");
  EXPECT_TRUE(error("cache:\n\tblock_size: 2\n").starts_with("x.yaml:2: ")) << error("cache:\n\tblock_size: 2\n");
  EXPECT_EQ(error("a: \"\\\x1b\"\n").find('\x1b'), std::string::npos);  // nothing for the terminal to obey
  EXPECT_TRUE(error("a: b: c\n").starts_with("x.yaml:1: ")) << error("a: b: c\n");
  EXPECT_TRUE(error(std::string(10000, '[')).starts_with("x.yaml:1: "));
}

TEST(ConfigLoader, Environment) {
  const auto config = load("", {}, {{"COHORT_MODEL", "dir"}, {"COHORT_BLOCK_SIZE", ""}, {"COHORT_FUZZ_SECONDS", "3"}});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->model.path, "dir");
  EXPECT_EQ(config->cache.block_size, 16);  // empty is absent
  EXPECT_EQ(error("", {}, {{"COHORT_BLOCK_SIZE", "two"}}), "COHORT_BLOCK_SIZE: expected an integer, got \"two\"");
  EXPECT_EQ(error("", {}, {{"COHORT_DTYPE", "int3"}}),
            "COHORT_DTYPE: expected auto, float32, bfloat16 or float16, got \"int3\"");
  EXPECT_EQ(error("", {}, {{"COHORT_BLOK_SIZE", "2"}}),
            "COHORT_BLOK_SIZE: unknown variable, did you mean COHORT_BLOCK_SIZE?");
  EXPECT_EQ(error("", {}, {{"COHORT_TP", "2"}}),
            "COHORT_TP: unknown variable, did you mean COHORT_TENSOR_PARALLEL_SIZE?");
  EXPECT_EQ(error("", {}, {{"COHORT_CACHE_BLOCK_SIZE", "2"}}),
            "COHORT_CACHE_BLOCK_SIZE: unknown variable, did you mean COHORT_BLOCK_SIZE?");
}

TEST(ConfigLoader, TheProcessesOwnEnvironment) {
  ASSERT_EQ(setenv("COHORT_MAX_SEQS", "7", 1), 0);
  const auto config = load_config({});
  unsetenv("COHORT_MAX_SEQS");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->scheduler.max_seqs, 7);
  EXPECT_EQ(load_config({})->scheduler.max_seqs, 64);
}

TEST(ConfigLoader, Flags) {
  EXPECT_EQ(load("", {{"--tp", "4"}, {"--pp", "2"}})->num_ranks(), 8);
  EXPECT_EQ(error("", {{"--tp", "two"}}), "--tp: expected an integer, got \"two\"");
  EXPECT_EQ(error("", {{"--block-size", "0"}}), "--block-size: expected 1 to 1024, got 0");
  EXPECT_EQ(error("", {{"--device", "tpu"}}), "--device: expected auto, cpu or cuda, got \"tpu\"");
  EXPECT_EQ(error("", {{"--block-size", ""}}), "--block-size: expected an integer, got \"\"");
  EXPECT_EQ(error("", {{"--tp", "2"}, {"--tensor-parallel-size", "2"}}),
            "--tensor-parallel-size: given twice, expected once");
  EXPECT_EQ(error("", {{"--no-such", "2"}}), "--no-such: unknown flag");
  EXPECT_EQ(error("", {{"--model", "\xff"}}).substr(0, 60),
            "--model: expected UTF-8 text without control characters, got");
}

class ConfigFileTest : public testing::Test {
 protected:
  Result<Config> load(std::string_view text) {
    test::write_file(path_, text);
    return load_config({.file = path_, .flags = {}, .environment = {}});
  }
  const test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "config.yaml";
};

TEST_F(ConfigFileTest, IsReadWithItsName) {
  const auto config = load("cache:\r\n  block_size: 8\r\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->cache.block_size, 8);
  EXPECT_EQ(origin(*config, "cache.block_size"), path_.string() + ":2");
  EXPECT_EQ(load("cache: 1\n").status().message().substr(0, path_.string().size() + 3), path_.string() + ":1:");
}

TEST_F(ConfigFileTest, MustBeThereAndSmall) {
  const auto absent = load_config({.file = "/no/x.yaml", .flags = {}, .environment = {}});
  EXPECT_EQ(absent.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(absent.status().message(), "/no/x.yaml: no such file");
  const auto directory = load_config({.file = directory_.path(), .flags = {}, .environment = {}});
  EXPECT_EQ(directory.status().message(), directory_.path().string() + ": expected a YAML file, got a directory");
  EXPECT_TRUE(load("#" + std::string(kMaxConfigBytes - 1, 'x')).ok());
  EXPECT_EQ(load("#" + std::string(kMaxConfigBytes, 'x')).status().message(),
            path_.string() + ": expected at most 1048576 bytes");
}

TEST(NearMiss, Distances) {
  EXPECT_EQ(edit_distance("", "", 0), 0u);
  EXPECT_EQ(edit_distance("kitten", "sitting", 3), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting", 2), std::nullopt);
  EXPECT_EQ(edit_distance("abc", "abcd", 1), 1u);
  EXPECT_EQ(edit_distance("abc", "abcd", 0), std::nullopt);
  EXPECT_EQ(edit_distance(std::string(1 << 20, 'a'), "a", 3), std::nullopt);
  const std::vector<std::string_view> names = {"port", "host", "most"};
  EXPECT_EQ(nearest_name("hosts", names, 2), "host");
  EXPECT_EQ(nearest_name("mort", names, 2), "port");  // the first of the nearest
  EXPECT_EQ(nearest_name("elephant", names, 2), "");
}

}  // namespace
}  // namespace cohort
