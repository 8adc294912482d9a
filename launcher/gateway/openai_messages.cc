#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "launcher/gateway/openai_request.h"
#include "runtime/json/json.h"

namespace cohort {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kAnySize = std::numeric_limits<size_t>::max();
// A closed list: they count as the template's own text (openai_chat.h).
constexpr std::array<std::string_view, 6> kRoles = {"system", "developer", "user", "assistant", "tool", "function"};

// The text of a content that is a string or a list of text parts; empty for none.
Result<std::string> parse_content(const json* content, const std::string& where) {
  if (content == nullptr) return std::string();
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return field_error(where, "a string or an array of text parts", *content);
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const json& part = (*content)[i];
    const std::string part_name = where + "[" + std::to_string(i) + "]";
    if (!part.is_object()) return field_error(part_name, "an object", part);
    FieldReader reader(part, part_name + ".");
    const std::string type = reader.text("type", kMaxNameBytes).value_or("");
    COHORT_RETURN_IF_ERROR(reader.status());
    if (type != "text") {
      return invalid_argument(part_name + ".type: expected text, got \"" + type.substr(0, 32) +
                              "\"; this model reads text only, and nothing is fetched");
    }
    const auto part_text = reader.text("text", kAnySize);
    COHORT_RETURN_IF_ERROR(reader.status());
    if (!part_text) return invalid_argument(part_name + ".text: expected a string, got none");
    if (i > 0) text += '\n';
    text += *part_text;
  }
  return text;
}

// The arguments of a call, which clients send as a string and templates print as an object.
Result<ordered_json> parse_arguments(const json* arguments, const std::string& where) {
  if (arguments == nullptr) return ordered_json::object();
  COHORT_RETURN_IF_ERROR(check_members(where, *arguments));
  if (arguments->is_object()) return ordered_json(*arguments);
  if (!arguments->is_string()) return field_error(where, "a string that holds a JSON object", *arguments);
  const auto& text = arguments->get_ref<const std::string&>();
  if (text.empty()) return ordered_json::object();
  const auto parsed = parse_json(text, where, kMaxBodyDepth);
  if (!parsed.ok() || !parsed->is_object()) return field_error(where, "a string that holds a JSON object", *arguments);
  COHORT_RETURN_IF_ERROR(check_members(where, *parsed));
  return ordered_json::parse(text);  // again, for the order of its members
}

Result<ordered_json> parse_tool_calls(const json& calls, const std::string& where) {
  ordered_json parsed = ordered_json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string name = where + "[" + std::to_string(i) + "]";
    if (!calls[i].is_object()) return field_error(name, "an object", calls[i]);
    FieldReader reader(calls[i], name + ".");
    ordered_json call = {{"type", "function"}};
    if (const auto id = reader.text("id", kMaxNameBytes)) call["id"] = *id;
    const json* function = reader.object("function");
    COHORT_RETURN_IF_ERROR(reader.status());
    if (function == nullptr) return invalid_argument(name + ".function: expected an object, got none");
    FieldReader inner(*function, name + ".function.");
    const auto function_name = inner.text("name", kMaxNameBytes);
    COHORT_RETURN_IF_ERROR(inner.status());
    if (!function_name) return invalid_argument(name + ".function.name: expected a string, got none");
    COHORT_ASSIGN_OR_RETURN(ordered_json arguments,
                            parse_arguments(inner.find("arguments"), name + ".function.arguments"));
    call["function"] = {{"name", *function_name}, {"arguments", std::move(arguments)}};
    parsed.push_back(std::move(call));
  }
  return parsed;
}

Result<ordered_json> parse_message(const json& message, const std::string& where) {
  if (!message.is_object()) return field_error(where, "an object", message);
  FieldReader reader(message, where + ".");
  const std::string role = reader.text("role", kMaxNameBytes).value_or("");
  COHORT_RETURN_IF_ERROR(reader.status());
  if (!is_chat_role(role)) {
    return field_error(where + ".role", "system, developer, user, assistant, tool or function", role);
  }
  const json* content = reader.find("content");
  const json* calls = reader.array("tool_calls");
  COHORT_RETURN_IF_ERROR(reader.status());
  if (content == nullptr && role != "assistant") {
    return invalid_argument(where + ".content: expected a string or an array of text parts, got none");
  }
  COHORT_ASSIGN_OR_RETURN(std::string text, parse_content(content, where + ".content"));
  ordered_json parsed = {{"role", role}, {"content", std::move(text)}};
  for (const std::string_view key : {"name", "tool_call_id", "reasoning_content", "reasoning"}) {
    if (auto value = reader.text(key, kAnySize)) parsed[std::string(key)] = *std::move(value);
  }
  COHORT_RETURN_IF_ERROR(reader.status());
  if (calls != nullptr && !calls->empty()) {
    COHORT_ASSIGN_OR_RETURN(parsed["tool_calls"], parse_tool_calls(*calls, where + ".tool_calls"));
  }
  return parsed;
}

}  // namespace

bool is_chat_role(std::string_view role) { return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end(); }

Result<ordered_json> parse_messages(const json& messages) {
  ordered_json parsed = ordered_json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(ordered_json message, parse_message(messages[i], "messages[" + std::to_string(i) + "]"));
    parsed.push_back(std::move(message));
  }
  return parsed;
}

}  // namespace cohort
