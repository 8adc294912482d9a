// Reads tokenizer.json and tokenizer_config.json.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// The tokenizer of the texts of the two files; an empty `config_json` stands for a missing file.
// Errors name the file and the path of the key that is wrong: "tokenizer.json: model.merges[7]:
// ...".
Result<std::unique_ptr<Tokenizer>> tokenizer_from_json(std::string_view json, std::string_view config_json);

// The same of a parsed tokenizer.json, or of other files written as one; `file` begins error messages.
Result<std::unique_ptr<Tokenizer>> tokenizer_from_document(const nlohmann::json& document, std::string_view file,
                                                           std::string_view config_json);

// What tokenizer_config.json says that concerns encoding.
struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> mask_token;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::string tokenizer_class;           // without "Fast"; empty where there is none
  std::optional<int64_t> extra_ids;      // T5
  std::vector<AddedToken> added_tokens;  // added_tokens_decoder
};

// Reads the text of a tokenizer_config.json; empty text yields an empty config.
Result<TokenizerConfig> parse_tokenizer_config(std::string_view json);

// The spelling of the token that the member `key` of a tokenizer_config.json names, as a string or as an object with
// its "content". Nothing where it names none.
Result<std::optional<std::string>> parse_token_member(const JsonNode& config, std::string_view key);

}  // namespace cohort
