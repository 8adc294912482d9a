#include "runtime/models/config_reader.h"

#include <cmath>
#include <limits>

namespace cohort {
namespace {

const nlohmann::json& empty_object() {
  static const nlohmann::json empty = nlohmann::json::object();
  return empty;
}

// A value as it stands in the file, cut to a line's length.
std::string shown(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

}  // namespace

const nlohmann::json* ConfigReader::find(std::string_view key) const {
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool ConfigReader::has(std::string_view key) const { return find(key) != nullptr; }

void ConfigReader::fail(std::string_view key, std::string_view message) {
  if (!status_.ok()) return;
  status_ = invalid_argument(where_ + ": " + std::string(key) + ": " + std::string(message));
}

void ConfigReader::merge(const ConfigReader& nested) {
  if (status_.ok()) status_ = nested.status_;
}

int64_t ConfigReader::positive_int(std::string_view key) {
  if (!has(key)) {
    fail(key, "missing, expected a positive integer");
    return 1;
  }
  return positive_int(key, 1);
}

int64_t ConfigReader::positive_int(std::string_view key, int64_t fallback) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();  // products of two fit int64_t
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number_integer() || *value < 1 || *value > kMax) {
    fail(key, "expected a positive integer below 2^31, got " + shown(*value));
    return fallback;
  }
  return value->get<int64_t>();
}

double ConfigReader::number(std::string_view key, double fallback) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    fail(key, "expected a number, got " + shown(*value));
    return fallback;
  }
  return value->get<double>();
}

int32_t ConfigReader::int32(std::string_view key, int32_t fallback) {
  const double value = number(key, fallback);
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max()) {
    fail(key, "expected a number of 32 bits, got " + shown(*find(key)));
    return fallback;
  }
  return static_cast<int32_t>(value);
}

double ConfigReader::positive_number(std::string_view key, double fallback) {
  const double value = number(key, fallback);
  if (has(key) && status_.ok() && value <= 0) fail(key, "expected a number above 0, got " + shown(*find(key)));
  return value;
}

bool ConfigReader::boolean(std::string_view key, bool fallback) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    fail(key, "expected true or false, got " + shown(*value));
    return fallback;
  }
  return value->get<bool>();
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    fail(key, "expected a string, got " + shown(*value));
    return std::string(fallback);
  }
  return value->get<std::string>();
}

ConfigReader ConfigReader::object(std::string_view key) {
  const nlohmann::json* value = find(key);
  if (value != nullptr && !value->is_object()) {
    fail(key, "expected an object, got " + shown(*value));
    value = nullptr;
  }
  return {value == nullptr ? empty_object() : *value, where_ + ": " + std::string(key)};
}

}  // namespace cohort
