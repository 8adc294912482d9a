// The source of a template to statements.
#pragma once

#include <string_view>

#include "kernels/core/status.h"
#include "runtime/jinja/ast.h"

namespace cohort::jinja {

// Parses a template in the subset of Jinja that chat templates use; README.md of this folder lists it. Errors:
// kInvalidArgument for what is no template and kUnimplemented for statements that are left out (include, import,
// extends, block, ...), each with its line. Statements and expressions within each other are limited in depth.
Result<Block> parse_template(std::string_view source);

}  // namespace cohort::jinja
