// Values as text: Python's str() and repr(), and JSON.
#pragma once

#include <string>

#include "kernels/core/status.h"
#include "runtime/jinja/value.h"

namespace cohort::jinja {

std::string show_int(Int number);
std::string show_float(double number);  // the shortest digits that read back the same, as Python prints them

// Appends str(value). An error for what has no text that is the same each time: functions, generators, ranges.
Status append_str(Budget& budget, const Value& value, Text& out);

// str(value), without a copy where it is a text.
Result<TextPtr> to_text(Budget& budget, const Value& value);

// Appends repr(value).
Status append_repr(Budget& budget, const Value& value, Text& out);

struct JsonStyle {
  std::optional<std::string> indent;  // a line for each item, indented by this for each level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ensure_ascii = false;
};

// Appends json.dumps(value); an error for what JSON cannot hold.
Status append_json(Budget& budget, const Value& value, const JsonStyle& style, Text& out);

}  // namespace cohort::jinja
