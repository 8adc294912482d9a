// JSON files that come with a model (config.json, an index, a tokenizer), read with bounds.
//
// Stricter than nlohmann::json::parse: the size and the nesting are limited and a key may occur
// once in an object. An error says where: "config.json:12:3: duplicate key \"hidden_size\"".
//
// Free functions without shared state: thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

inline constexpr int kMaxJsonDepth = 128;
inline constexpr int64_t kMaxJsonBytes = 100'000'000;  // the largest tokenizer.json in use has some 35 MB

// Parses `text`, which must be one JSON value and nothing else but white space. `where` (a file
// name) begins every error message. kInvalidArgument for what is not JSON, nests deeper than
// `max_depth`, or repeats a key.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view where, int max_depth = kMaxJsonDepth);

// Reads and parses a whole file. Messages begin with the path. kNotFound when there is no such
// file, kInvalidArgument when it is not a regular file, has more than `max_bytes`, or is not JSON
// as above.
Result<nlohmann::json> read_json_file(const std::filesystem::path& path, int64_t max_bytes = kMaxJsonBytes);

}  // namespace cohort
