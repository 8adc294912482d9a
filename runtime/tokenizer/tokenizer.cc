#include "runtime/tokenizer/tokenizer.h"

#include <fstream>
#include <sstream>

#include "runtime/tokenizer/sentencepiece_tokenizer.h"
#include "runtime/tokenizer/tokenizer_json.h"

namespace cohort {
namespace {

Result<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || !text) return not_found("cannot read " + path.string());
  return std::move(text).str();
}

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::filesystem::path& model_dir) {
  std::string config;
  if (is_file(model_dir / "tokenizer_config.json")) {
    COHORT_ASSIGN_OR_RETURN(config, read_file(model_dir / "tokenizer_config.json"));
  }
  const bool has_json = is_file(model_dir / "tokenizer.json");
  const std::filesystem::path path = model_dir / (has_json ? "tokenizer.json" : "tokenizer.model");
  if (!is_file(path)) return not_found(model_dir.string() + ": has no tokenizer.json and no tokenizer.model");
  COHORT_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  auto tokenizer = has_json ? tokenizer_from_json(text, config) : tokenizer_from_sentencepiece(text, config);
  if (!tokenizer.ok()) return Status(tokenizer.status()).annotate(model_dir.string());
  return tokenizer;
}

Tokenizer::Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second) const {
  const EncodeOptions without_special_tokens{.add_special_tokens = false};
  return assemble(encode(first, without_special_tokens), encode(second, without_special_tokens));
}

}  // namespace cohort
