// Post-processors of a tokenizer.json: the tokens that they put around the ids of a text.
//
// A value; thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"

namespace cohort {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// Reads the value of the key "post_processor".
Result<PostProcessor> parse_post_processor(const JsonNode& node);

}  // namespace cohort
