// Normalizers of a tokenizer.json: they rewrite text before it is split.
//
// Immutable; thread-safe with a RegexScratch per thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/regex.h"

namespace cohort {

class Normalizer {
 public:
  virtual ~Normalizer() = default;

  // Rewrites `text`, which is valid UTF-8 and stays so.
  virtual void normalize(std::string& text, RegexScratch& scratch) const = 0;

  // Whether `text` would stay as it is, as far as can be told at little cost; spares a copy.
  virtual bool is_trivial(std::string_view text) const { return text.empty(); }
};

// Reads the value of the key "normalizer".
Result<std::unique_ptr<Normalizer>> parse_normalizer(const JsonNode& node);

}  // namespace cohort
