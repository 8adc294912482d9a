// The source of a template as tokens, by the rules of Jinja with trim_blocks and lstrip_blocks, as Hugging Face
// transformers sets them: the newline after a block or comment goes, and so does the white space before one that begins
// a line; a minus sign in a delimiter takes all white space on its side, a plus sign keeps it.
//
// Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace cohort::jinja {

struct Token {
  enum class Kind {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind;
  std::string text;  // data; a name; an unescaped string; digits; an operator as written
  int line;          // 1-based
};

// The tokens of `source`, the last of kind kEnd. Errors are kInvalidArgument and begin with "line N: ".
Result<std::vector<Token>> tokenize(std::string_view source);

// An error about a line of a template: "line 12: expected ...".
Status line_error(int line, std::string_view what);

}  // namespace cohort::jinja
