// The normalizer of BERT: tokenizer.json's "BertNormalizer".
//
// Immutable; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "runtime/tokenizer/normalizer.h"

namespace cohort {

struct BertNormalizerOptions {
  bool clean_text = true;            // drop control characters, make every white space a " "
  bool handle_chinese_chars = true;  // put spaces around each CJK ideograph
  bool strip_accents = true;
  bool lowercase = true;
};

class BertNormalizer final : public Normalizer {
 public:
  explicit BertNormalizer(const BertNormalizerOptions& options) : options_(options) {}

  void normalize(std::string& text, RegexScratch& scratch) const override;
  bool is_trivial(std::string_view text) const override;

 private:
  void append_clean(char32_t c, std::string& out) const;
  void strip_and_lowercase(std::string& text) const;

  BertNormalizerOptions options_;
};

// Reads {"type": "BertNormalizer", ...}; "strip_accents": null means as "lowercase".
Result<BertNormalizerOptions> parse_bert_normalizer(const JsonNode& node);

}  // namespace cohort
