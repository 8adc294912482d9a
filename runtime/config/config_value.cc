#include "runtime/config/config_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

namespace cohort {
namespace {

template <typename Number>
std::string print(Number value) {
  std::array<char, 32> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), end};
}

// What is allowed: "1 to 1024", "auto, cpu or cuda".
template <typename Range>
std::string limits_text(const Range& range) {
  return print(range.min) + " to " + print(range.max);
}

std::string limits_text(const TextChoices& choices) {
  std::string text;
  for (size_t i = 0; i < choices.names.size(); ++i) {
    const bool is_last = i + 1 == choices.names.size();
    text.append(i == 0 ? "" : is_last ? " or " : ", ").append(choices.names[i]);
  }
  return text;
}

// Digits, perhaps after a minus. Not 010, which is eight to one reader of YAML and ten to another.
bool is_integer(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.size() > 1 && text[0] == '0') return false;
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Nothing for what is not a number; infinity for what is too large for one.
std::optional<double> read_number(std::string_view text) {
  const size_t first = text.starts_with('-') ? 1 : 0;
  if (first == text.size() || std::string_view("0123456789.").find(text[first]) == std::string_view::npos) return {};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return {};
  if (error == std::errc::result_out_of_range) value = std::numeric_limits<double>::infinity();
  return value;
}

template <typename Range>
Status out_of_range(const Range& range, std::string_view text) {
  return invalid_argument("expected " + limits_text(range) + ", got " + name_for_message(text));
}

Status wrong_type(std::string_view type, std::string_view got) {
  return invalid_argument("expected " + std::string(type) + ", got " + std::string(got));
}

template <typename Range>
Result<ConfigValue> parse_integer(const Range& range, std::string_view text) {
  if (!is_integer(text)) return wrong_type("an integer", quote_for_message(text));
  auto value = range.min;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool fits = error == std::errc() && end == text.data() + text.size();
  if (!fits || value < range.min || value > range.max) return out_of_range(range, text);
  return ConfigValue(value);
}

Result<ConfigValue> parse(const IntegerRange& range, std::string_view text) { return parse_integer(range, text); }
Result<ConfigValue> parse(const UnsignedRange& range, std::string_view text) { return parse_integer(range, text); }

Result<ConfigValue> parse(const NumberRange& range, std::string_view text) {
  const std::optional<double> value = read_number(text);
  if (!value) return wrong_type("a number", quote_for_message(text));
  if (*value < range.min || *value > range.max) return out_of_range(range, text);
  return ConfigValue(*value);
}

Result<ConfigValue> parse(const TextChoices& choices, std::string_view text) {
  if (std::find(choices.names.begin(), choices.names.end(), text) == choices.names.end()) {
    return wrong_type(limits_text(choices), quote_for_message(text));
  }
  return ConfigValue(std::string(text));
}

bool is_utf8(std::string_view text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

// What print_config() could not write so that it is read back the same is refused.
Result<ConfigValue> parse(const FreeText& limits, std::string_view text) {
  if (text.empty() && !limits.may_be_empty) return wrong_type("a text", "an empty one");
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::any_of(text.begin(), text.end(), is_control) || !is_utf8(text)) {
    return wrong_type("UTF-8 text without control characters", quote_for_message(text));
  }
  return ConfigValue(std::string(text));
}

std::string type_name(const IntegerRange&) { return "an integer"; }
std::string type_name(const UnsignedRange&) { return "an integer"; }
std::string type_name(const NumberRange&) { return "a number"; }
std::string type_name(const TextChoices& choices) { return limits_text(choices); }
std::string type_name(const FreeText&) { return "a text"; }

// What other readers of YAML take for a number or a truth value.
bool is_text_without_quotes(std::string_view text) {
  for (const std::string_view word : {"true", "True", "TRUE", "false", "False", "FALSE"}) {
    if (text == word) return false;
  }
  if (text.starts_with('+')) text.remove_prefix(1);
  return !read_number(text);
}

}  // namespace

Result<ConfigValue> parse_config_value(const ConfigKey& key, std::string_view text) {
  return std::visit([&](const auto& limits) { return parse(limits, text); }, key.limits);
}

Result<ConfigValue> parse_config_value(const ConfigKey& key, const YamlNode& node) {
  const std::string type = std::visit([](const auto& limits) { return type_name(limits); }, key.limits);
  if (node.kind == YamlNode::Kind::kNull) return wrong_type(type, "nothing");
  if (node.kind == YamlNode::Kind::kSequence) return wrong_type(type, "a list");
  if (node.kind == YamlNode::Kind::kMap) return wrong_type(type, "a map");
  const bool is_free_text = std::holds_alternative<FreeText>(key.limits);
  const bool is_text = is_free_text || std::holds_alternative<TextChoices>(key.limits);
  if (!is_text && node.is_quoted) return wrong_type(type, "the text " + quote_for_message(node.text));
  if (is_free_text && !node.is_quoted && !is_text_without_quotes(node.text)) {
    return wrong_type(type, name_for_message(node.text) + " without quotes");
  }
  return parse_config_value(key, node.text);
}

std::string print_config_value(const ConfigKey& key, const ConfigValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    // A text of JSON is one of YAML.
    return std::holds_alternative<TextChoices>(key.limits) ? *text : nlohmann::json(*text).dump();
  }
  if (const auto* number = std::get_if<double>(&value)) return print(*number);
  if (const auto* number = std::get_if<uint64_t>(&value)) return print(*number);
  return print(std::get<int64_t>(value));
}

}  // namespace cohort
