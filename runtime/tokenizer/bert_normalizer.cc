#include "runtime/tokenizer/bert_normalizer.h"

#include <algorithm>

#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/unicode_form.h"

namespace cohort {
namespace {

// The blocks of CJK ideographs that BERT's tokenization.py lists.
bool is_cjk_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

bool BertNormalizer::is_trivial(std::string_view text) const {
  return std::all_of(text.begin(), text.end(), [this](char c) {
    if (c >= 'A' && c <= 'Z') return !options_.lowercase;
    return c >= ' ' && c <= '~';
  });
}

void BertNormalizer::append_clean(char32_t c, std::string& out) const {
  if (options_.clean_text) {
    const bool is_space = is_white_space(c) && (c == '\t' || c == '\n' || c == '\r' || !is_control(c));
    if (is_space) {
      out += ' ';
      return;
    }
    if (c == 0xFFFD || is_control(c)) return;
  }
  const bool is_set_apart = options_.handle_chinese_chars && is_cjk_ideograph(c);
  if (is_set_apart) out += ' ';
  append_utf8(c, out);
  if (is_set_apart) out += ' ';
}

void BertNormalizer::normalize(std::string& text, RegexScratch&) const {
  std::string clean;
  clean.reserve(text.size() + text.size() / 8);
  for (size_t pos = 0; pos < text.size();) {
    if (text[pos] >= ' ' && text[pos] <= '~') {
      clean += text[pos++];
    } else {
      append_clean(next_char(text, pos), clean);
    }
  }
  strip_and_lowercase(clean);
  text = std::move(clean);
}

void BertNormalizer::strip_and_lowercase(std::string& text) const {
  const bool strips = options_.strip_accents && !is_ascii(text);
  if (strips) {
    const UnicodeNormalizer& nfd = UnicodeNormalizer::get(UnicodeForm::kNfd);
    if (!nfd.is_trivial(text)) {
      std::string decomposed;
      nfd.append(text, decomposed);
      text = std::move(decomposed);
    }
  }
  if (!strips && !options_.lowercase) return;
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_char(text, pos);
    if (strips && c >= 0x80 && is_nonspacing_mark(c)) continue;
    if (!options_.lowercase) {
      append_utf8(c, out);
    } else if (c < 0x80) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    } else {
      append_lowercase(c, out);
    }
  }
  text = std::move(out);
}

Result<BertNormalizerOptions> parse_bert_normalizer(const JsonNode& node) {
  BertNormalizerOptions options;
  COHORT_ASSIGN_OR_RETURN(options.clean_text, node.bool_or("clean_text", true));
  COHORT_ASSIGN_OR_RETURN(options.handle_chinese_chars, node.bool_or("handle_chinese_chars", true));
  COHORT_ASSIGN_OR_RETURN(options.lowercase, node.bool_or("lowercase", true));
  COHORT_ASSIGN_OR_RETURN(options.strip_accents, node.bool_or("strip_accents", options.lowercase));
  return options;
}

}  // namespace cohort
