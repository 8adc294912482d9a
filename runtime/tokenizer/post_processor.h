// Post-processors of a tokenizer.json: the tokens that they put around the ids of a text, or of a pair of texts.
//
// A value; thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"

namespace cohort {

struct PostProcessor {
  // A token to put there, or the ids of a text.
  struct Part {
    enum Kind { kToken, kFirst, kSecond };
    Kind kind;
    int32_t id;       // kToken
    int32_t type_id;  // the segment that the token, or each of the text, belongs to
  };

  std::vector<Part> single = {{Part::kFirst, -1, 0}};                        // has kFirst once
  std::vector<Part> pair = {{Part::kFirst, -1, 0}, {Part::kSecond, -1, 1}};  // has kFirst and kSecond once each
};

// Reads the value of the key "post_processor".
Result<PostProcessor> parse_post_processor(const JsonNode& node);

}  // namespace cohort
