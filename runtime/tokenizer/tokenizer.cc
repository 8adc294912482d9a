#include "runtime/tokenizer/tokenizer.h"

#include <fstream>
#include <sstream>

#include "runtime/tokenizer/sentencepiece_tokenizer.h"
#include "runtime/tokenizer/tokenizer_json.h"
#include "runtime/tokenizer/vocab_files.h"

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

struct TokenizerFile {
  enum Kind { kJson, kSentencePiece, kVocab, kMerges };
  const char* name;
  Kind kind;
};

// Of several the one that says most.
Result<TokenizerFile> find_tokenizer_file(const std::filesystem::path& dir) {
  for (const TokenizerFile& file : {TokenizerFile{"tokenizer.json", TokenizerFile::kJson},
                                    TokenizerFile{"tokenizer.model", TokenizerFile::kSentencePiece},
                                    TokenizerFile{"spiece.model", TokenizerFile::kSentencePiece},
                                    TokenizerFile{"vocab.txt", TokenizerFile::kVocab}}) {
    if (is_file(dir / file.name)) return file;
  }
  if (is_file(dir / "vocab.json") && is_file(dir / "merges.txt")) {
    return TokenizerFile{"vocab.json", TokenizerFile::kMerges};
  }
  return not_found(dir.string() +
                   ": has no tokenizer.json, tokenizer.model, spiece.model, "
                   "vocab.txt, or vocab.json and merges.txt");
}

Result<std::unique_ptr<Tokenizer>> parse_file(const TokenizerFile& file, const std::string& text,
                                              const std::string& merges, const std::string& config) {
  switch (file.kind) {
    case TokenizerFile::kJson:
      return tokenizer_from_json(text, config);
    case TokenizerFile::kSentencePiece:
      return tokenizer_from_sentencepiece(text, config);
    case TokenizerFile::kVocab:
      return tokenizer_from_vocab_txt(text, config);
    case TokenizerFile::kMerges:
      return tokenizer_from_merges_txt(text, merges, config);
  }
  return not_found(file.name);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::filesystem::path& model_dir) {
  std::string config;
  if (is_file(model_dir / "tokenizer_config.json")) {
    COHORT_ASSIGN_OR_RETURN(config, read_file(model_dir / "tokenizer_config.json"));
  }
  COHORT_ASSIGN_OR_RETURN(const TokenizerFile file, find_tokenizer_file(model_dir));
  COHORT_ASSIGN_OR_RETURN(const std::string text, read_file(model_dir / file.name));
  std::string merges;
  if (file.kind == TokenizerFile::kMerges) {
    COHORT_ASSIGN_OR_RETURN(merges, read_file(model_dir / "merges.txt"));
  }
  auto tokenizer = parse_file(file, text, merges, config);
  if (!tokenizer.ok()) return Status(tokenizer.status()).annotate(model_dir.string());
  return tokenizer;
}

Tokenizer::Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second) const {
  const EncodeOptions without_special_tokens{.add_special_tokens = false};
  return assemble(encode(first, without_special_tokens), encode(second, without_special_tokens));
}

}  // namespace cohort
