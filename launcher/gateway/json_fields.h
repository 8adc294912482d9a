// The JSON body of a request: parsed within bounds, and its members read with types, ranges and names.
//
// Free functions and values; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

inline constexpr int kMaxBodyDepth = 64;
inline constexpr size_t kMaxBodyValues = 2'000'000;  // of arrays and objects: bounds what a parsed body holds

// The object that `body` is. kInvalidArgument ("body: ...") for what is not JSON in UTF-8, not an object, nests deeper
// or has more values than allowed, or repeats a key.
Result<nlohmann::json> parse_body(std::string_view body);

// kInvalidArgument where an object within `value`, or itself, has more than kMaxOrderedMembers members: for what is
// kept in the order of its members, where finding one takes as long as there are others.
inline constexpr size_t kMaxOrderedMembers = 256;
Status check_members(std::string_view name, const nlohmann::json& value);

// "name: expected ..., got ...": the value in short, however large it is.
Status field_error(std::string_view name, std::string_view expected, const nlohmann::json& got);

// The field that an error names, as far as the first colon; empty if it begins with none.
std::string_view field_of(std::string_view message);

// Reads members of an object. A member that is null counts as absent. The first error is kept, and what is read after
// it does not matter. Borrows the object.
class FieldReader {
 public:
  // `prefix` stands before the names of members in errors: "stream_options.".
  explicit FieldReader(const nlohmann::json& object, std::string prefix = "");

  // The member, or null.
  const nlohmann::json* find(std::string_view name);

  std::optional<bool> flag(std::string_view name);
  // A number without a fraction.
  std::optional<int64_t> integer(std::string_view name, int64_t min, int64_t max);
  // A number that a float can hold.
  std::optional<float> number(std::string_view name, float min, float max);
  std::optional<std::string> text(std::string_view name, size_t max_bytes);
  // An array of texts of 1 to max_bytes bytes; also a lone one if `or_text`.
  std::optional<std::vector<std::string>> texts(std::string_view name, size_t max_count, size_t max_bytes,
                                                bool or_text = false);
  // An array of token ids below `vocab`.
  std::optional<std::vector<int32_t>> ids(std::string_view name, int64_t vocab, size_t max_count);
  // A member that is an object.
  const nlohmann::json* object(std::string_view name);
  const nlohmann::json* array(std::string_view name);

  // Keeps an error found elsewhere.
  void fail(Status status);
  void fail(std::string_view name, std::string_view expected, const nlohmann::json& got);

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  // The names that nothing has asked for.
  std::vector<std::string> unread() const;

 private:
  const nlohmann::json& object_;
  std::string prefix_;
  std::unordered_set<std::string> read_;
  Status status_;
};

// A debug line for each field that a request has and nothing knows.
void log_ignored_fields(const std::string& request_id, const std::vector<std::string>& names);

// The token ids of an array; `name` stands in errors.
Result<std::vector<int32_t>> parse_ids(const nlohmann::json& array, std::string_view name, int64_t vocab);

}  // namespace cohort
