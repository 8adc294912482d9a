// Sequence: one stream of tokens under way for a request, as its tokens and its place in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace cohort {

struct Sequence {
  static constexpr int32_t kFedToken = -1;  // a token that is only on the device as yet

  int64_t id = 0;
  std::vector<int32_t> prompt;       // token ids
  std::vector<int32_t> token_types;  // of the prompt; empty: all 0
  std::vector<int32_t> output;       // sampled tokens, or kFedToken
  // Of models with sources: token ids and their blocks, which hold what the prompt and the output attend to. They are
  // computed whole in the step that computes the first position.
  std::vector<int32_t> source;
  std::vector<int32_t> source_table;
  std::vector<int32_t> block_table;  // blocks of the cache, in order of position
  int64_t num_computed = 0;          // positions whose keys and values are in the cache, or in a step under way

  int64_t source_length() const { return static_cast<int64_t>(source.size()); }
  bool is_source_pending() const { return !source.empty() && num_computed == 0; }
  int64_t prompt_length() const { return static_cast<int64_t>(prompt.size()); }
  int64_t length() const { return prompt_length() + static_cast<int64_t>(output.size()); }
  int64_t num_pending() const { return length() - num_computed; }
  int32_t token(int64_t position) const {
    return position < prompt_length() ? prompt[static_cast<size_t>(position)]
                                      : output[static_cast<size_t>(position - prompt_length())];
  }
  // max(prompt length, position + 1): see RotaryEmbedding::apply.
  int64_t rope_length(int64_t position) const { return std::max(prompt_length(), position + 1); }
};

}  // namespace cohort
