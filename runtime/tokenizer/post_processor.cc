#include "runtime/tokenizer/post_processor.h"

#include <optional>
#include <string>

namespace cohort {
namespace {

constexpr int kMaxNesting = 16;

Result<int32_t> parse_id(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const int64_t id, node.as_int());
  if (id < 0 || id > INT32_MAX) return node.error("id " + std::to_string(id) + " is out of range");
  return static_cast<int32_t>(id);
}

// The ids of one {"SpecialToken": {"id": name}}, which "special_tokens" defines by its name.
Status append_special_token(const JsonNode& node, const JsonNode& definitions, std::vector<int32_t>& ids) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode name_node, node.at("id"));
  COHORT_ASSIGN_OR_RETURN(const std::string name, name_node.as_string());
  COHORT_ASSIGN_OR_RETURN(const JsonNode definition, definitions.at(name));
  COHORT_ASSIGN_OR_RETURN(const JsonNode ids_node, definition.at("ids"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> id_nodes, ids_node.elements());
  for (const JsonNode& id_node : id_nodes) {
    COHORT_ASSIGN_OR_RETURN(const int32_t id, parse_id(id_node));
    ids.push_back(id);
  }
  return ok_status();
}

// Only "single" matters: Cohort encodes one text at a time.
Result<PostProcessor> parse_template(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode single, node.at("single"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, single.elements());
  PostProcessor processor;
  bool seen_text = false;
  for (const JsonNode& element : elements) {
    if (const std::optional<JsonNode> special = element.find("SpecialToken")) {
      COHORT_ASSIGN_OR_RETURN(const JsonNode definitions, node.at("special_tokens"));
      COHORT_RETURN_IF_ERROR(
          append_special_token(*special, definitions, seen_text ? processor.suffix : processor.prefix));
    } else if (element.find("Sequence")) {
      if (seen_text) return element.error("the text may stand only once");
      seen_text = true;
    } else {
      return element.error("expected {\"SpecialToken\": ...} or {\"Sequence\": ...}");
    }
  }
  if (!seen_text) return single.error("expected one {\"Sequence\": ...}");
  return processor;
}

// "cls" and "sep" are pairs of a spelling and an id.
Result<int32_t> parse_named_id(const JsonNode& node, std::string_view key) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode pair, node.at(key));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, pair.elements());
  if (elements.size() != 2) return pair.error("expected [token, id]");
  return parse_id(elements[1]);
}

Result<PostProcessor> parse_cls_sep(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const int32_t cls, parse_named_id(node, "cls"));
  COHORT_ASSIGN_OR_RETURN(const int32_t sep, parse_named_id(node, "sep"));
  return PostProcessor{{cls}, {sep}};
}

Result<PostProcessor> parse_nested(const JsonNode& node, int depth);

Result<PostProcessor> parse_sequence(const JsonNode& node, int depth) {
  if (depth == kMaxNesting) return node.error("nested too deeply");
  COHORT_ASSIGN_OR_RETURN(const JsonNode list, node.at("processors"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list.elements());
  PostProcessor all;
  for (const JsonNode& element : elements) {
    COHORT_ASSIGN_OR_RETURN(const PostProcessor outer, parse_nested(element, depth + 1));
    all.prefix.insert(all.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
    all.suffix.insert(all.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  }
  return all;
}

Result<PostProcessor> parse_nested(const JsonNode& node, int depth) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode type_node, node.at("type"));
  COHORT_ASSIGN_OR_RETURN(const std::string type, type_node.as_string());
  if (type == "Sequence") return parse_sequence(node, depth);
  if (type == "TemplateProcessing") return parse_template(node);
  if (type == "ByteLevel") return PostProcessor{};  // it only trims offsets
  if (type == "RobertaProcessing" || type == "BertProcessing") return parse_cls_sep(node);
  return node.unknown_type(type,
                           {"Sequence", "TemplateProcessing", "ByteLevel", "RobertaProcessing", "BertProcessing"});
}

}  // namespace

Result<PostProcessor> parse_post_processor(const JsonNode& node) { return parse_nested(node, 0); }

}  // namespace cohort
