// A value of a parsed JSON file together with its path, so that an error says where in the file it
// is: "pre_tokenizer.pretokenizers[1].pattern: expected a string, got a number".
//
// A JsonNode borrows the parsed document, which must outlive it.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool is_object() const { return value_->is_object(); }
  bool is_string() const { return value_->is_string(); }

  // The member `key`, or nothing when this is no object, it has no such member, or the member is
  // null.
  std::optional<JsonNode> find(std::string_view key) const;

  // The member `key`; an error when it is missing or null.
  Result<JsonNode> at(std::string_view key) const;

  Result<std::vector<JsonNode>> elements() const;  // of an array

  Result<std::string> as_string() const;
  Result<char32_t> as_char() const;  // a string of one character
  Result<int64_t> as_int() const;
  Result<bool> as_bool() const;

  // Members that may be missing or null.
  Result<bool> bool_or(std::string_view key, bool otherwise) const;
  Result<int64_t> int_or(std::string_view key, int64_t otherwise) const;
  Result<std::string> string_or(std::string_view key, std::string_view otherwise) const;

  // `what` is wrong with this value.
  Status error(std::string_view what) const;

  // An error that lists what `type` may be.
  Status unknown_type(std::string_view type, std::initializer_list<std::string_view> known) const;

 private:
  Status wrong_kind(std::string_view expected) const;

  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace cohort
