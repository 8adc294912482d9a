// The prompts of a load: random tokens, or those of a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// Has ids or text, not both.
struct LoadPrompt {
  std::vector<int32_t> ids = {};
  std::string text = {};
  int64_t num_tokens = 0;     // 0: not known here
  int64_t output_length = 0;  // tokens that are asked for
};

struct RandomPrompts {
  int64_t count = 1;
  int64_t prefix_length = 0;  // tokens that all prompts begin with, before those of input_length
  int64_t input_length = 1024;
  int64_t output_length = 128;
  double range_ratio = 0;  // r in [0, 1): lengths are uniform in [length * (1 - r), length * (1 + r)]
  int64_t vocab = 0;       // ids are below; requires a tokenizer or at least 1
  uint64_t seed = 0;
};

// With a tokenizer, prompts are text: as long as random tokens can be spelled, since two that meet may make one.
// Without, they are ids.
std::vector<LoadPrompt> make_random_prompts(const RandomPrompts& options, const Tokenizer* tokenizer);

// A file's text: prompts as lines, or, where a line begins with "{", JSON objects with "prompt", a string or ids, and
// where they want "output_len". Empty lines are skipped. Taken in order, and again from the start when there are fewer
// than `count`. INVALID_ARGUMENT names the line.
Result<std::vector<LoadPrompt>> parse_prompts(std::string_view text, int64_t count, int64_t output_length);

}  // namespace cohort
