#include "runtime/chat/chat_template.h"

#include <set>

#include "runtime/chat/json_value.h"
#include "runtime/jinja/evaluator.h"
#include "runtime/jinja/lexer.h"
#include "runtime/jinja/parser.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

Status add_variables(const ordered_json& object, bool is_data, jinja::Evaluator::Variables& variables) {
  if (!object.is_object()) return invalid_argument("expected the template's variables as an object");
  for (const auto& [name, json] : object.items()) {
    Result<jinja::Value> value = value_from_json(json, is_data);
    if (!value.ok()) return Status(value.status()).annotate(name);
    variables.emplace_back(name, *std::move(value));
  }
  return ok_status();
}

}  // namespace

struct ChatTemplate::Parsed {
  jinja::Block block;
  std::set<std::string, std::less<>> names;  // every name in a tag
};

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  if (!is_valid_utf8(source)) return invalid_argument("the template is not UTF-8");
  auto parsed = std::make_shared<Parsed>();
  COHORT_ASSIGN_OR_RETURN(const std::vector<jinja::Token> tokens, jinja::tokenize(source));
  for (const jinja::Token& token : tokens) {
    if (token.kind == jinja::Token::Kind::kName) parsed->names.insert(token.text);
  }
  COHORT_ASSIGN_OR_RETURN(parsed->block, jinja::parse_template(source));
  return ChatTemplate(std::move(parsed));
}

Result<std::vector<ChatSegment>> ChatTemplate::render_segments(const ordered_json& data, const ordered_json& trusted,
                                                               const ChatRenderOptions& options) const {
  jinja::Evaluator::Variables variables;  // the first of a name is found
  COHORT_RETURN_IF_ERROR(add_variables(trusted, false, variables));
  COHORT_RETURN_IF_ERROR(add_variables(data, true, variables));
  jinja::RenderState state(options.limits, options.now);
  COHORT_ASSIGN_OR_RETURN(const jinja::Text text, jinja::Evaluator(state, variables).run(parsed_->block));
  std::vector<ChatSegment> segments;
  text.visit_runs(0, text.size(), [&](std::string_view bytes, bool is_data) {
    segments.push_back({std::string(bytes), is_data});
  });
  return segments;
}

Result<std::string> ChatTemplate::render(const ordered_json& context, const ChatRenderOptions& options) const {
  COHORT_ASSIGN_OR_RETURN(const std::vector<ChatSegment> segments,
                          render_segments(context, ordered_json::object(), options));
  std::string text;
  for (const ChatSegment& segment : segments) text += segment.text;
  return text;
}

bool ChatTemplate::uses(std::string_view variable) const { return parsed_->names.contains(variable); }

}  // namespace cohort
