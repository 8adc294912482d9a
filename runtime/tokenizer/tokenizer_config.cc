#include <charconv>

#include "runtime/json/json.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/tokenizer_json.h"
#include "runtime/tokenizer/vocab.h"

namespace cohort {
namespace {

Result<std::optional<bool>> parse_flag(const JsonNode& root, std::string_view key) {
  const std::optional<JsonNode> node = root.find(key);
  if (!node) return std::optional<bool>();
  COHORT_ASSIGN_OR_RETURN(const bool flag, node->as_bool());
  return std::optional<bool>(flag);
}

Result<AddedToken> parse_added_token(const JsonNode& node, std::string_view key) {
  AddedToken token;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
  if (error != std::errc() || end != key.data() + key.size() || token.id < 0 || token.id > Vocab::kMaxId) {
    return node.error("expected an id as the key");
  }
  COHORT_ASSIGN_OR_RETURN(const JsonNode content_node, node.at("content"));
  COHORT_ASSIGN_OR_RETURN(token.content, content_node.as_string());
  COHORT_ASSIGN_OR_RETURN(token.single_word, node.bool_or("single_word", false));
  COHORT_ASSIGN_OR_RETURN(token.lstrip, node.bool_or("lstrip", false));
  COHORT_ASSIGN_OR_RETURN(token.rstrip, node.bool_or("rstrip", false));
  COHORT_ASSIGN_OR_RETURN(token.normalized, node.bool_or("normalized", false));
  COHORT_ASSIGN_OR_RETURN(token.is_special, node.bool_or("special", false));
  return token;
}

Result<TokenizerConfig> parse_root(const JsonNode& root) {
  if (!root.is_object()) return root.error("expected an object");
  TokenizerConfig config;
  COHORT_ASSIGN_OR_RETURN(config.bos_token, parse_token_member(root, "bos_token"));
  COHORT_ASSIGN_OR_RETURN(config.eos_token, parse_token_member(root, "eos_token"));
  COHORT_ASSIGN_OR_RETURN(config.mask_token, parse_token_member(root, "mask_token"));
  COHORT_ASSIGN_OR_RETURN(config.add_bos_token, parse_flag(root, "add_bos_token"));
  COHORT_ASSIGN_OR_RETURN(config.add_eos_token, parse_flag(root, "add_eos_token"));
  COHORT_ASSIGN_OR_RETURN(config.tokenizer_class, root.string_or("tokenizer_class", ""));
  if (config.tokenizer_class.ends_with("Fast")) config.tokenizer_class.resize(config.tokenizer_class.size() - 4);
  if (const std::optional<JsonNode> extra_ids = root.find("extra_ids")) {
    COHORT_ASSIGN_OR_RETURN(config.extra_ids, extra_ids->as_int());
  }
  const std::optional<JsonNode> added = root.find("added_tokens_decoder");
  if (!added) return config;
  if (!added->is_object()) return added->error("expected an object");
  for (const auto& member : added->value().items()) {
    const JsonNode node(member.value(), added->path() + "[\"" + member.key() + "\"]");
    COHORT_ASSIGN_OR_RETURN(AddedToken token, parse_added_token(node, member.key()));
    config.added_tokens.push_back(std::move(token));
  }
  return config;
}

}  // namespace

Result<std::optional<std::string>> parse_token_member(const JsonNode& config, std::string_view key) {
  const std::optional<JsonNode> node = config.find(key);
  if (!node) return std::optional<std::string>();
  if (node->is_string()) {
    COHORT_ASSIGN_OR_RETURN(std::string token, node->as_string());
    return std::optional<std::string>(std::move(token));
  }
  COHORT_ASSIGN_OR_RETURN(const JsonNode content, node->at("content"));
  COHORT_ASSIGN_OR_RETURN(std::string token, content.as_string());
  return std::optional<std::string>(std::move(token));
}

Result<TokenizerConfig> parse_tokenizer_config(std::string_view json) {
  if (json.empty()) return TokenizerConfig();
  COHORT_ASSIGN_OR_RETURN(const nlohmann::json document, parse_json(json, "tokenizer_config.json"));
  Result<TokenizerConfig> config = parse_root(JsonNode(document, ""));
  if (!config.ok()) return Status(config.status()).annotate("tokenizer_config.json");
  return config;
}

}  // namespace cohort
