// Sequence: one stream of tokens under way for a request.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/decoding/request.h"

namespace cohort {

struct Sequence {
  int64_t request_id = 0;
  GenerationRequest request;
  std::vector<int32_t> output;       // sampled tokens
  std::vector<int32_t> block_table;  // blocks of the cache, in order of position
  int64_t num_computed = 0;          // positions whose keys and values are in the cache

  int64_t prompt_length() const { return static_cast<int64_t>(request.prompt.size()); }
  int64_t length() const { return prompt_length() + static_cast<int64_t>(output.size()); }
  int32_t token(int64_t position) const {
    return position < prompt_length() ? request.prompt[static_cast<size_t>(position)]
                                      : output[static_cast<size_t>(position - prompt_length())];
  }
  // max(prompt length, position + 1): see RotaryEmbedding::apply.
  int64_t rope_length(int64_t position) const { return std::max(prompt_length(), position + 1); }
};

}  // namespace cohort
