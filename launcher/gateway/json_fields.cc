#include "launcher/gateway/json_fields.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "runtime/json/json.h"

namespace cohort {
namespace {

using nlohmann::json;

// Values that arrays and objects of `text` hold at most, if it is JSON.
size_t count_values(std::string_view text) {
  size_t count = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == '[' || c == '{') {
      ++count;
    }
  }
  return count;
}

// A value as an error shows it.
std::string shown(const json& value) {
  switch (value.type()) {
    case json::value_t::array:
      return "an array of " + std::to_string(value.size());
    case json::value_t::object:
      return "an object";
    case json::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      if (text.size() > 64) return "a string of " + std::to_string(text.size()) + " bytes";
      return value.dump(-1, ' ', false, json::error_handler_t::replace);
    }
    default:
      return value.dump();
  }
}

std::string shown(float value) {
  std::string text = json(static_cast<double>(value)).dump();
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

// The whole number that `value` is.
std::optional<int64_t> as_integer(const json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  constexpr double kExact = 9007199254740992;  // 2^53: below it every whole number is one
  if (!(std::abs(number) <= kExact) || std::trunc(number) != number) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::string range_text(std::string_view kind, const std::string& min, const std::string& max) {
  return std::string(kind) + " from " + min + " to " + max;
}

}  // namespace

Result<json> parse_body(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return invalid_argument("body: expected a JSON object, got nothing");
  }
  // The parser takes it for the end.
  if (body.find('\0') != std::string_view::npos) return invalid_argument("body: expected JSON, got a NUL byte");
  if (count_values(body) > kMaxBodyValues) {
    return invalid_argument("body: more than " + std::to_string(kMaxBodyValues) + " values");
  }
  COHORT_ASSIGN_OR_RETURN(json object, parse_json(body, "body", kMaxBodyDepth));
  if (!object.is_object()) return field_error("body", "a JSON object", object);
  return object;
}

Status check_members(std::string_view name, const json& value) {
  if (!value.is_structured()) return ok_status();
  if (value.is_object() && value.size() > kMaxOrderedMembers) {
    return invalid_argument(std::string(name) + ": expected objects of at most " + std::to_string(kMaxOrderedMembers) +
                            " members, got " + std::to_string(value.size()));
  }
  for (const json& member : value) COHORT_RETURN_IF_ERROR(check_members(name, member));
  return ok_status();
}

Status field_error(std::string_view name, std::string_view expected, const json& got) {
  return invalid_argument(std::string(name) + ": expected " + std::string(expected) + ", got " + shown(got));
}

std::string_view field_of(std::string_view message) {
  const size_t end = std::min(message.find(':'), message.size());
  if (end == message.size()) return {};
  const std::string_view name = message.substr(0, end);
  const auto is_name_char = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '[' || c == ']';
  };
  return std::all_of(name.begin(), name.end(), is_name_char) ? name : std::string_view();
}

FieldReader::FieldReader(const json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {}

const json* FieldReader::find(std::string_view name) {
  read_.emplace(name);
  const auto member = object_.find(name);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

std::optional<bool> FieldReader::flag(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  fail(name, "true or false", *value);
  return std::nullopt;
}

std::optional<int64_t> FieldReader::integer(std::string_view name, int64_t min, int64_t max) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = as_integer(*value);
  if (number && *number >= min && *number <= max) return number;
  fail(name,
       max == std::numeric_limits<int64_t>::max() ? "an integer of at least " + std::to_string(min)
                                                  : range_text("an integer", std::to_string(min), std::to_string(max)),
       *value);
  return std::nullopt;
}

std::optional<float> FieldReader::number(std::string_view name, float min, float max) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (number >= min && number <= max) return static_cast<float>(number);
  fail(name,
       max == std::numeric_limits<float>::max() ? "a number of at least " + shown(min)
                                                : range_text("a number", shown(min), shown(max)),
       *value);
  return std::nullopt;
}

std::optional<std::string> FieldReader::text(std::string_view name, size_t max_bytes) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string() && value->get_ref<const std::string&>().size() <= max_bytes) return value->get<std::string>();
  fail(name, "a string of at most " + std::to_string(max_bytes) + " bytes", *value);
  return std::nullopt;
}

std::optional<std::vector<std::string>> FieldReader::texts(std::string_view name, size_t max_count, size_t max_bytes,
                                                           bool or_text) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const auto is_text = [&](const json& item) {
    return item.is_string() && !item.get_ref<const std::string&>().empty() &&
           item.get_ref<const std::string&>().size() <= max_bytes;
  };
  const std::string one = "a string of 1 to " + std::to_string(max_bytes) + " bytes";
  const std::string expected = (or_text ? one + " or " : "") + "an array of at most " + std::to_string(max_count);
  if (or_text && value->is_string()) {
    if (is_text(*value)) return std::vector<std::string>{value->get<std::string>()};
    fail(name, expected, *value);
    return std::nullopt;
  }
  if (!value->is_array() || value->size() > max_count) {
    fail(name, expected, *value);
    return std::nullopt;
  }
  std::vector<std::string> texts;
  for (const json& item : *value) {
    if (!is_text(item)) {
      fail(std::string(name) + "[" + std::to_string(texts.size()) + "]", one, item);
      return std::nullopt;
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::optional<std::vector<int32_t>> FieldReader::ids(std::string_view name, int64_t vocab, size_t max_count) {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || value->size() > max_count) {
    fail(name, "an array of at most " + std::to_string(max_count) + " token ids", *value);
    return std::nullopt;
  }
  auto ids = parse_ids(*value, prefix_ + std::string(name), vocab);
  if (ids.ok()) return *std::move(ids);
  fail(ids.status());
  return std::nullopt;
}

const json* FieldReader::object(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr || value->is_object()) return value;
  fail(name, "an object", *value);
  return nullptr;
}

const json* FieldReader::array(std::string_view name) {
  const json* value = find(name);
  if (value == nullptr || value->is_array()) return value;
  fail(name, "an array", *value);
  return nullptr;
}

void FieldReader::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

void FieldReader::fail(std::string_view name, std::string_view expected, const json& got) {
  if (status_.ok()) status_ = field_error(prefix_ + std::string(name), expected, got);
}

std::vector<std::string> FieldReader::unread() const {
  std::vector<std::string> names;
  for (const auto& member : object_.items()) {
    if (!read_.contains(member.key())) names.push_back(member.key());
  }
  return names;
}

void log_ignored_fields(const std::string& request_id, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const json shown_name = name.substr(0, 64);  // the client's: in ASCII
    spdlog::debug("request {}: the field {} is ignored", request_id,
                  shown_name.dump(-1, ' ', true, json::error_handler_t::replace));
  }
}

Result<std::vector<int32_t>> parse_ids(const json& array, std::string_view name, int64_t vocab) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const json& item : array) {
    const std::optional<int64_t> id = as_integer(item);
    if (!id || *id < 0 || *id >= vocab) {
      return field_error(std::string(name) + "[" + std::to_string(ids.size()) + "]",
                         range_text("a token id", "0", std::to_string(vocab - 1)), item);
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

}  // namespace cohort
