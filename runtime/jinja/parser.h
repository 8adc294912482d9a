// The source of a template to statements.
#pragma once

#include <string_view>

#include "kernels/core/status.h"
#include "runtime/jinja/ast.h"

namespace cohort::jinja {

// Parses a template. Of the statements of Jinja 3.1: if, for (with a filter and else, not recursive), break, continue,
// set (also of a block), macro, call, filter, with, raw, and generation of transformers. Of the expressions: all but *
// and ** in calls. Filters, tests, methods and functions are in builtins.h; one that does not exist is an error where
// it is used. Errors: kInvalidArgument for what is no template and kUnimplemented for the statements left out (include,
// import, extends, block, ...), each with its line. Statements and expressions within each other are limited in depth.
Result<Block> parse_template(std::string_view source);

}  // namespace cohort::jinja
