// Reads tokenizer.json and tokenizer_config.json.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// The tokenizer of the texts of the two files; an empty `config_json` stands for a missing file.
// Errors name the file and the path of the key that is wrong: "tokenizer.json: model.merges[7]:
// ...".
Result<std::unique_ptr<Tokenizer>> tokenizer_from_json(std::string_view json, std::string_view config_json);

// What tokenizer_config.json says that concerns encoding.
struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> mask_token;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::vector<AddedToken> added_tokens;  // added_tokens_decoder
};

// Reads the text of a tokenizer_config.json; empty text yields an empty config.
Result<TokenizerConfig> parse_tokenizer_config(std::string_view json);

}  // namespace cohort
