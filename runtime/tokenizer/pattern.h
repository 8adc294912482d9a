// The "pattern" of Replace and Split.
#pragma once

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/regex.h"

namespace cohort {

// Reads {"String": ...} or {"Regex": ...}.
Result<Regex> parse_pattern(const JsonNode& node);

}  // namespace cohort
