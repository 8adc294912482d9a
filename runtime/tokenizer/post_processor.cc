#include "runtime/tokenizer/post_processor.h"

#include <algorithm>
#include <optional>
#include <string>

namespace cohort {
namespace {

using Part = PostProcessor::Part;

constexpr int kMaxNesting = 16;

std::ptrdiff_t count_kind(const std::vector<Part>& parts, Part::Kind kind) {
  return std::count_if(parts.begin(), parts.end(), [kind](const Part& part) { return part.kind == kind; });
}

Result<int32_t> parse_id(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const int64_t id, node.as_int());
  if (id < 0 || id > INT32_MAX) return node.error("id " + std::to_string(id) + " is out of range");
  return static_cast<int32_t>(id);
}

// The tokens of one {"SpecialToken": {"id": name}}, which "special_tokens" defines by its name.
Status append_special_token(const JsonNode& node, int32_t type_id, const JsonNode& definitions,
                            std::vector<Part>& parts) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode name_node, node.at("id"));
  COHORT_ASSIGN_OR_RETURN(const std::string name, name_node.as_string());
  COHORT_ASSIGN_OR_RETURN(const JsonNode definition, definitions.at(name));
  COHORT_ASSIGN_OR_RETURN(const JsonNode ids_node, definition.at("ids"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> id_nodes, ids_node.elements());
  for (const JsonNode& id_node : id_nodes) {
    COHORT_ASSIGN_OR_RETURN(const int32_t id, parse_id(id_node));
    parts.push_back({Part::kToken, id, type_id});
  }
  return ok_status();
}

Result<Part::Kind> parse_sequence_name(const JsonNode& sequence) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode name_node, sequence.at("id"));
  COHORT_ASSIGN_OR_RETURN(const char32_t name, name_node.as_char());
  if (name == 'A') return Part::kFirst;
  if (name == 'B') return Part::kSecond;
  return name_node.error("expected A or B");
}

Result<int32_t> parse_type_id(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const int64_t type_id, node.int_or("type_id", 0));
  if (type_id < 0 || type_id > INT32_MAX) return node.error("type_id " + std::to_string(type_id) + " is out of range");
  return static_cast<int32_t>(type_id);
}

// "single" or "pair" of the template `node`.
Result<std::vector<Part>> parse_parts(const JsonNode& node, std::string_view key, bool is_pair) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode list, node.at(key));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list.elements());
  std::vector<Part> parts;
  for (const JsonNode& element : elements) {
    if (const std::optional<JsonNode> special = element.find("SpecialToken")) {
      COHORT_ASSIGN_OR_RETURN(const JsonNode definitions, node.at("special_tokens"));
      COHORT_ASSIGN_OR_RETURN(const int32_t type_id, parse_type_id(*special));
      COHORT_RETURN_IF_ERROR(append_special_token(*special, type_id, definitions, parts));
    } else if (const std::optional<JsonNode> sequence = element.find("Sequence")) {
      COHORT_ASSIGN_OR_RETURN(const Part::Kind kind, parse_sequence_name(*sequence));
      COHORT_ASSIGN_OR_RETURN(const int32_t type_id, parse_type_id(*sequence));
      if (count_kind(parts, kind) > 0) return element.error("a text may stand only once");
      parts.push_back({kind, -1, type_id});
    } else {
      return element.error("expected {\"SpecialToken\": ...} or {\"Sequence\": ...}");
    }
  }
  const bool has_each_once =
      count_kind(parts, Part::kFirst) == 1 && count_kind(parts, Part::kSecond) == (is_pair ? 1 : 0);
  if (!has_each_once) return list.error(is_pair ? "expected A and B once each" : "expected one {\"Sequence\": ...}");
  return parts;
}

Result<PostProcessor> parse_template(const JsonNode& node) {
  PostProcessor processor;
  COHORT_ASSIGN_OR_RETURN(processor.single, parse_parts(node, "single", false));
  if (node.find("pair")) {
    COHORT_ASSIGN_OR_RETURN(processor.pair, parse_parts(node, "pair", true));
  }
  return processor;
}

// "cls" and "sep" are pairs of a spelling and an id.
Result<int32_t> parse_named_id(const JsonNode& node, std::string_view key) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode pair, node.at(key));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, pair.elements());
  if (elements.size() != 2) return pair.error("expected [token, id]");
  return parse_id(elements[1]);
}

// BERT: [CLS] A [SEP] B [SEP], the second text and what follows it of another segment.
Result<PostProcessor> parse_bert(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const int32_t cls, parse_named_id(node, "cls"));
  COHORT_ASSIGN_OR_RETURN(const int32_t sep, parse_named_id(node, "sep"));
  PostProcessor processor;
  processor.single = {{Part::kToken, cls, 0}, {Part::kFirst, -1, 0}, {Part::kToken, sep, 0}};
  processor.pair = processor.single;
  processor.pair.push_back({Part::kSecond, -1, 1});
  processor.pair.push_back({Part::kToken, sep, 1});
  return processor;
}

// RoBERTa: <s> A </s> </s> B </s>, all of one segment.
Result<PostProcessor> parse_roberta(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const int32_t cls, parse_named_id(node, "cls"));
  COHORT_ASSIGN_OR_RETURN(const int32_t sep, parse_named_id(node, "sep"));
  PostProcessor processor;
  processor.single = {{Part::kToken, cls, 0}, {Part::kFirst, -1, 0}, {Part::kToken, sep, 0}};
  processor.pair = processor.single;
  processor.pair.push_back({Part::kToken, sep, 0});
  processor.pair.push_back({Part::kSecond, -1, 0});
  processor.pair.push_back({Part::kToken, sep, 0});
  return processor;
}

// Empty for a step that only trims offsets.
using Step = std::optional<PostProcessor>;

Result<Step> parse_nested(const JsonNode& node, int depth);

// Hugging Face can run one step that adds tokens, and only trims offsets before it.
Result<Step> parse_sequence(const JsonNode& node, int depth) {
  if (depth == kMaxNesting) return node.error("nested too deeply");
  COHORT_ASSIGN_OR_RETURN(const JsonNode list, node.at("processors"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list.elements());
  Step only;
  for (const JsonNode& element : elements) {
    COHORT_ASSIGN_OR_RETURN(Step step, parse_nested(element, depth + 1));
    if (only && step) return element.error("a second step that adds tokens is not supported");
    if (step) only = std::move(step);
  }
  return only;
}

Result<Step> parse_nested(const JsonNode& node, int depth) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode type_node, node.at("type"));
  COHORT_ASSIGN_OR_RETURN(const std::string type, type_node.as_string());
  if (type == "Sequence") return parse_sequence(node, depth);
  if (type == "ByteLevel") return Step();
  using Parse = Result<PostProcessor> (*)(const JsonNode&);
  const Parse parse = type == "TemplateProcessing"  ? parse_template
                      : type == "BertProcessing"    ? parse_bert
                      : type == "RobertaProcessing" ? parse_roberta
                                                    : nullptr;
  if (parse == nullptr) {
    return node.unknown_type(type,
                             {"Sequence", "TemplateProcessing", "ByteLevel", "RobertaProcessing", "BertProcessing"});
  }
  COHORT_ASSIGN_OR_RETURN(PostProcessor processor, parse(node));
  return Step(std::move(processor));
}

}  // namespace

Result<PostProcessor> parse_post_processor(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(Step step, parse_nested(node, 0));
  return step ? *std::move(step) : PostProcessor();
}

}  // namespace cohort
