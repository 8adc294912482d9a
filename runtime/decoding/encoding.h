// What an encoder makes of a sequence.
#pragma once

#include <cstdint>
#include <vector>

namespace cohort {

// Which of it a request wants.
struct EncodingParts {
  bool hidden_states = false;
  bool pooler_output = false;
  bool embedding = false;
  bool logits = false;
  std::vector<int32_t> logits_of = {};  // of these tokens of the prompt only; none: of all that the head reads

  bool any() const { return hidden_states || pooler_output || embedding || logits; }
};

// Empty where it is not wanted.
struct Encoding {
  std::vector<float> hidden_states;  // [num_tokens, hidden], after the last layer
  std::vector<float> pooler_output;  // [hidden]
  std::vector<float> embedding;      // [hidden]: pooled hidden states, normalised if the model wants it
  // [num_logits], or [num_tokens, num_logits] where the model labels tokens: all of them, or those of logits_of
  std::vector<float> logits;
};

}  // namespace cohort
