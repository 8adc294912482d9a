#include "runtime/tokenizer/pattern.h"

#include <optional>
#include <string>

namespace cohort {

Result<Regex> parse_pattern(const JsonNode& node) {
  const std::optional<JsonNode> regex_node = node.find("Regex");
  const std::optional<JsonNode> literal_node = node.find("String");
  if (!regex_node && !literal_node) return node.error("expected {\"String\": ...} or {\"Regex\": ...}");
  const JsonNode& text_node = regex_node ? *regex_node : *literal_node;
  COHORT_ASSIGN_OR_RETURN(const std::string text, text_node.as_string());
  Result<Regex> regex = regex_node ? Regex::compile(text) : Regex::literal(text);
  if (!regex.ok()) return text_node.error(regex.status().message());
  return regex;
}

}  // namespace cohort
