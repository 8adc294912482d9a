// What an encoder makes of a sequence.
#pragma once

#include <vector>

namespace cohort {

// Which of it a request wants.
struct EncodingParts {
  bool hidden_states = false;
  bool pooler_output = false;
  bool embedding = false;
  bool logits = false;

  bool any() const { return hidden_states || pooler_output || embedding || logits; }
};

// Empty where it is not wanted.
struct Encoding {
  std::vector<float> hidden_states;  // [num_tokens, hidden], after the last layer
  std::vector<float> pooler_output;  // [hidden]
  std::vector<float> embedding;      // [hidden]: pooled hidden states, normalised if the model wants it
  std::vector<float> logits;         // [num_logits], or [num_tokens, num_logits] where the model labels tokens
};

}  // namespace cohort
