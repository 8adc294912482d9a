// YAML text as a tree that knows its lines, read with bounds.
//
// Stricter than yaml-cpp: one document, no anchors, aliases or tags, names as keys, and each key once in a map, which
// yaml-cpp does not check. Errors say where: "a.yaml:9: cache.block_size: duplicate key, first on line 4".
//
// Plain values and free functions without shared state: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  int line = 1;                    // the first is 1
  std::string text;                // of a scalar
  bool is_quoted = false;          // a scalar in quotes or a block scalar: text whatever it looks like
  std::vector<YamlEntry> entries;  // of a map, as they stand in the file; what a sequence holds is not kept
};

struct YamlEntry {
  std::string key;
  int line = 1;  // of the key
  YamlNode value;
};

// Parses `text`; `where` (a file name) begins every error message. An empty document is kNull.
Result<YamlNode> read_yaml(std::string_view text, std::string_view where);

// A text of a user's as a message shows it: on one line, cut to its length, in quotes.
std::string quote_for_message(std::string_view text);

// The same without quotes where it is a plain word.
std::string name_for_message(std::string_view text);

// With ? for each control character, so that it stays on its line.
std::string on_one_line(std::string text);

}  // namespace cohort
