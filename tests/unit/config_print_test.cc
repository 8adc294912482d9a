// Configurations as text: printed, compared, as a schema, as the examples in configs/, and broken in every way.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/config/config_loader.h"
#include "runtime/config/config_schema.h"
#include "runtime/models/family.h"
#include "tests/files.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

const fs::path kConfigs = test::source_dir() / "configs";

Result<Config> load_text(std::string_view yaml, NamedTexts flags = {}, NamedTexts environment = {}) {
  return load_config_text(yaml, {.file = "x.yaml", .flags = std::move(flags), .environment = std::move(environment)});
}

std::vector<fs::path> example_files() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(kConfigs)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A value other than the default.
std::string other_value(const ConfigKey& key) {
  if (const auto* choices = std::get_if<TextChoices>(&key.limits)) return std::string(choices->names.back());
  if (const auto* range = std::get_if<IntegerRange>(&key.limits)) return std::to_string(range->max);
  if (const auto* range = std::get_if<UnsignedRange>(&key.limits)) return std::to_string(range->max);
  if (std::holds_alternative<NumberRange>(key.limits)) return "0.12345678901234567";
  return "a \"b\" \\ # : 'c' {x} - \xe6\x97\xa5 \xf0\x9f\x8e\x89 123";
}

TEST(PrintConfig, ShowsEveryKeyWithItsOrigin) {
  const auto config =
      load_text("parallel:\n  tensor_parallel_size: 2\n", {{"--model", "a dir"}}, {{"COHORT_DTYPE", "float16"}});
  ASSERT_TRUE(config.ok()) << config.status().message();
  const std::string text = print_config(*config);
  EXPECT_TRUE(
      text.starts_with("model:\n"
                       "  path: \"a dir\"  # --model\n"
                       "  weights: checkpoint  # default\n"
                       "  random_seed: 0  # default\n"
                       "  dtype: float16  # COHORT_DTYPE\n"
                       "  max_model_len: 0  # default\n"
                       "  numerics: fast  # default\n"
                       "parallel:\n"
                       "  tensor_parallel_size: 2  # x.yaml:2\n"
                       "  pipeline_parallel_size: 1  # default\n"))
      << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'),
            static_cast<std::ptrdiff_t>(config_keys().size() + config_sections().size()));
}

TEST(PrintConfig, LoadsBackToAnEqualConfig) {
  NamedTexts all;
  for (const ConfigKey& key : config_keys()) {
    // One key at a time, then all of them.
    const NamedTexts one = {{std::string(key.path), other_value(key)}};
    if (key.path != "health.heartbeat_interval_ms") {  // too long for the other's default
      const auto config = load_text("", one);
      ASSERT_TRUE(config.ok()) << config.status().message();
      EXPECT_FALSE(*config == Config{}) << key.path;
      const auto again = load_text(print_config(*config));
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_EQ(*again, *config) << key.path;
    }
    all.push_back(one[0]);
  }
  const auto config = load_text("", all);
  ASSERT_TRUE(config.ok()) << config.status().message();
  const auto again = load_text(print_config(*config));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(*again, *config);
  EXPECT_EQ(*load_text(print_config(Config{})), Config{});  // without origins
}

TEST(PrintConfig, AFilesNameCannotEndTheComment) {
  const auto config =
      load_config_text("cache: {block_size: 2}", {.file = "x\nserver: {port: 1}", .flags = {}, .environment = {}});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(*load_text(print_config(*config)), *config);
}

TEST(CanonicalConfig, TellsWhatRanksMustAgreeOn) {
  const std::string defaults = canonical_config(Config{});
  EXPECT_TRUE(defaults.starts_with("model.weights=checkpoint\n")) << defaults;
  for (const ConfigKey& key : config_keys()) {
    NamedTexts flags = {{std::string(key.path), other_value(key)}};
    if (key.path == "health.heartbeat_interval_ms") flags[0].second = "501";
    const auto config = load_text("", flags);
    ASSERT_TRUE(config.ok()) << config.status().message();
    const bool is_local = key.path == "logging.level" || key.path == "device.threads" || key.path == "model.path";
    EXPECT_EQ(canonical_config(*config) == defaults, is_local) << key.path;
  }
}

TEST(ConfigSchema, TheFileIsWhatTheProgramMakes) {
  EXPECT_EQ(test::read_file(kConfigs / "config.schema.json"), config_json_schema())
      << "expected it as `cohort config schema > configs/config.schema.json` writes it";
}

TEST(ConfigSchema, HasEveryKeyWithItsBounds) {
  const nlohmann::json schema = nlohmann::json::parse(config_json_schema());
  size_t num_keys = 0;
  for (const auto& section : schema["properties"]) {
    EXPECT_EQ(section["additionalProperties"], false);
    num_keys += section["properties"].size();
  }
  EXPECT_EQ(num_keys, config_keys().size());
  EXPECT_EQ(schema["additionalProperties"], false);
  const auto& cache = schema["properties"]["cache"]["properties"];
  EXPECT_EQ(cache["block_size"]["type"], "integer");
  EXPECT_EQ(cache["block_size"]["minimum"], 1);
  EXPECT_EQ(cache["block_size"]["maximum"], 1024);
  EXPECT_EQ(cache["block_size"]["default"], 16);
  EXPECT_EQ(cache["memory_fraction"]["type"], "number");
  EXPECT_EQ(schema["properties"]["model"]["properties"]["weights"]["enum"], nlohmann::json({"checkpoint", "random"}));
  EXPECT_EQ(schema["properties"]["server"]["properties"]["host"]["minLength"], 1);
}

TEST(Examples, LoadAndNameTheirSchema) {
  const std::vector<fs::path> files = example_files();
  EXPECT_GE(files.size(), 8u);
  for (const fs::path& file : files) {
    const auto config = load_config({.file = file, .flags = {}, .environment = {}});
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_FALSE(config->model.path.empty()) << file;
    const auto again = load_text(print_config(*config));
    ASSERT_TRUE(again.ok()) << file << again.status().message();
    EXPECT_EQ(*again, *config) << file;

    const std::string text = test::read_file(file);
    const std::string_view mark = "# yaml-language-server: $schema=";
    ASSERT_TRUE(text.starts_with(mark)) << file;
    const fs::path schema = text.substr(mark.size(), text.find('\n') - mark.size());
    EXPECT_TRUE(fs::equivalent(file.parent_path() / schema, kConfigs / "config.schema.json")) << file;
    // A model that comes with the checkout must be there.
    if (config->model.path.starts_with("configs/")) {
      EXPECT_TRUE(fs::exists(test::source_dir() / config->model.path / "config.json")) << file;
    }
  }
}

int64_t num_parameters(const ModelConfig& model) {
  int64_t total = 0;
  const WeightMap map = model.family->weight_map(model.spec);
  for (const TensorRef& tensor : all_tensors(map)) total += tensor.shape.num_elements();
  return total;
}

TEST(Examples, ShapesOfKnownFamiliesLoad) {
  // As configs/models/README.md says, which counts both tables of Falcon where the family has one.
  const std::map<std::string, int64_t> parameters = {{"llama-2-13b", 13'015'864'320}, {"llama-3-70b", 70'553'706'496},
                                                     {"gpt3-175b", 174'604'259'328},  {"opt-175b", 174'604'468'224},
                                                     {"bloom-176b", 176'247'271'424}, {"falcon-180b", 178'557'088'768},
                                                     {"flan-t5-xxl", 11'135'332'352}};
  size_t num_counted = 0;
  for (const auto& entry : fs::directory_iterator(kConfigs / "models")) {
    if (!entry.is_directory()) continue;
    const auto model = read_model_config(entry.path());
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ(num_parameters(*model), parameters.at(entry.path().filename().string())) << entry.path();
    EXPECT_EQ(model->spec.head_dim * model->spec.num_heads, model->spec.hidden) << entry.path();
    ++num_counted;
  }
  EXPECT_EQ(num_counted, parameters.size());
}

// Whatever the text, the answer is a Status with where it is wrong, or a Config that is printed and read back equal.
void expect_sane(const std::string& yaml) {
  const auto config = load_text(yaml);
  if (!config.ok()) {
    ASSERT_TRUE(config.status().message().starts_with("x.yaml:")) << config.status().message();
    ASSERT_EQ(config.status().message().find('\n'), std::string::npos) << config.status().message();
    return;
  }
  const auto again = load_text(print_config(*config));
  ASSERT_TRUE(again.ok()) << again.status().message() << yaml;
  ASSERT_EQ(*again, *config) << yaml;
}

TEST(Robustness, TruncatedFiles) {
  for (const fs::path& file : example_files()) {
    const std::string text = test::read_file(file);
    for (size_t size = 0; size < text.size(); ++size) expect_sane(text.substr(0, size));
  }
}

TEST(Robustness, MutatedFiles) {
  std::mt19937 random(20240607);
  const std::string pieces[] = {"\n",  "  ",   ": ",           "- ", "[", "]", "{", "}",  "\"", "'",
                                "#",   "&a ",  "*a",           "!!", "|", ">", "?", "\t", ",",  "---\n",
                                "...", "\xff", "\xef\xbb\xbf", "\\", "0", "%"};
  const std::string base = print_config(Config{});
  for (int i = 0; i < 20000; ++i) {
    std::string text = base;
    for (uint32_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % (text.size() + 1);
      switch (random() % 3) {
        case 0:
          text.insert(at, pieces[random() % std::size(pieces)]);
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        default:
          if (at < text.size()) text[at] = static_cast<char>(random());
      }
    }
    ASSERT_NO_FATAL_FAILURE(expect_sane(text));
  }
}

// Shapes on which readers of YAML recurse or take time that grows with the square of the length.
TEST(Robustness, LargeAndDeepFiles) {
  constexpr size_t kSize = 300'000;
  for (const std::string piece :
       {"[", "{", "- ", "? ", "a: ", "{a: ", "\"",    "'",      "a\n",  "- a\n", "[],", "!", "&", "*",
        "|", "#", "\n", " ",  "\t",  "%\n",  "---\n", "a: 1\n", "[a: ", "\\",    "}",   ",", ": "}) {
    std::string text;
    while (text.size() < kSize) text += piece;
    ASSERT_NO_FATAL_FAILURE(expect_sane(text)) << piece;
  }
}

}  // namespace
}  // namespace cohort
