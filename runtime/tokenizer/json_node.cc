#include "runtime/tokenizer/json_node.h"

#include "runtime/tokenizer/unicode.h"

namespace cohort {

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  if (!value_->is_object()) return std::nullopt;
  const auto member = value_->find(key);
  if (member == value_->end() || member->is_null()) return std::nullopt;
  std::string path = path_;
  if (!path.empty()) path += '.';
  path += key;
  return JsonNode(*member, std::move(path));
}

Result<JsonNode> JsonNode::at(std::string_view key) const {
  if (!value_->is_object()) return wrong_kind("an object");
  std::optional<JsonNode> member = find(key);
  if (!member) return error(std::string(key) + " is missing");
  return *std::move(member);
}

Result<std::vector<JsonNode>> JsonNode::elements() const {
  if (!value_->is_array()) return wrong_kind("an array");
  std::vector<JsonNode> nodes;
  nodes.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    nodes.emplace_back((*value_)[i], path_ + "[" + std::to_string(i) + "]");
  }
  return nodes;
}

Result<std::string> JsonNode::as_string() const {
  if (!value_->is_string()) return wrong_kind("a string");
  return value_->get_ref<const std::string&>();
}

Result<char32_t> JsonNode::as_char() const {
  COHORT_ASSIGN_OR_RETURN(const std::string text, as_string());
  size_t pos = 0;
  const char32_t c = text.empty() ? 0 : next_char(text, pos);
  if (text.empty() || pos != text.size()) return wrong_kind("a string of one character");
  return c;
}

Result<int64_t> JsonNode::as_int() const {
  if (!value_->is_number_integer()) return wrong_kind("an integer");
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > INT64_MAX) return error("too large");
  return value_->get<int64_t>();
}

Result<bool> JsonNode::as_bool() const {
  if (!value_->is_boolean()) return wrong_kind("true or false");
  return value_->get<bool>();
}

Result<bool> JsonNode::bool_or(std::string_view key, bool otherwise) const {
  const std::optional<JsonNode> member = find(key);
  return member ? member->as_bool() : Result<bool>(otherwise);
}

Result<int64_t> JsonNode::int_or(std::string_view key, int64_t otherwise) const {
  const std::optional<JsonNode> member = find(key);
  return member ? member->as_int() : Result<int64_t>(otherwise);
}

Result<std::string> JsonNode::string_or(std::string_view key, std::string_view otherwise) const {
  const std::optional<JsonNode> member = find(key);
  return member ? member->as_string() : Result<std::string>(std::string(otherwise));
}

Status JsonNode::error(std::string_view what) const {
  return invalid_argument(path_.empty() ? std::string(what) : path_ + ": " + std::string(what));
}

Status JsonNode::unknown_type(std::string_view type, std::initializer_list<std::string_view> known) const {
  std::string message = path_ + ": type \"" + std::string(type) + "\" is not known; known: ";
  std::string_view separator;
  for (const std::string_view name : known) {
    message.append(separator).append(name);
    separator = ", ";
  }
  return unimplemented(std::move(message));
}

Status JsonNode::wrong_kind(std::string_view expected) const {
  std::string what = "expected ";
  what.append(expected).append(", got ").append(value_->type_name());
  return error(what);
}

}  // namespace cohort
