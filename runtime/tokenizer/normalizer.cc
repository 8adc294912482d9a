#include "runtime/tokenizer/normalizer.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "runtime/tokenizer/bert_normalizer.h"
#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/unicode_form.h"

namespace cohort {
namespace {

constexpr int kMaxNesting = 16;

class SequenceNormalizer final : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void normalize(std::string& text, RegexScratch& scratch) const override {
    for (const auto& step : steps_) {
      if (!step->is_trivial(text)) step->normalize(text, scratch);
    }
  }
  bool is_trivial(std::string_view text) const override {
    return std::all_of(steps_.begin(), steps_.end(), [&](const auto& s) { return s->is_trivial(text); });
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

// By a table of what becomes of characters: Unicode's, or the one that a SentencePiece model brings along.
template <typename Table>
class TableNormalizer final : public Normalizer {
 public:
  explicit TableNormalizer(Table table) : table_(std::forward<Table>(table)) {}
  void normalize(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    table_.append(text, out);
    text = std::move(out);
  }
  bool is_trivial(std::string_view text) const override { return table_.is_trivial(text); }

 private:
  Table table_;
};

using FormNormalizer = TableNormalizer<const UnicodeNormalizer&>;
using CharsmapNormalizer = TableNormalizer<Charsmap>;

class LowercaseNormalizer final : public Normalizer {
 public:
  void normalize(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t pos = 0; pos < text.size();) append_lowercase(next_char(text, pos), out);
    text = std::move(out);
  }
};

class StripAccentsNormalizer final : public Normalizer {
 public:
  void normalize(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t pos = 0; pos < text.size();) {
      const char32_t c = next_char(text, pos);
      if (!is_mark(c)) append_utf8(c, out);
    }
    text = std::move(out);
  }
};

class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void normalize(std::string& text, RegexScratch&) const override {
    size_t end = text.size();
    while (right_ && end > 0) {
      const char32_t c = char_before(text, end);
      if (!is_white_space(c)) break;
      std::string encoded;
      append_utf8(c, encoded);
      end -= encoded.size();
    }
    size_t begin = 0;
    for (size_t pos = 0; left_ && pos < end; begin = pos) {
      if (!is_white_space(next_char(text, pos))) break;
    }
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_;
  bool right_;
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void normalize(std::string& text, RegexScratch&) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void normalize(std::string& text, RegexScratch& scratch) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    size_t copied = 0;
    Regex::Iterator matches(pattern_, text, scratch);
    for (Regex::Match match; matches.next(match); copied = match.end) {
      out.append(text, copied, match.begin - copied);
      out.append(content_);
    }
    out.append(text, copied);
    text = std::move(out);
  }

 private:
  Regex pattern_;
  std::string content_;
};

// Replace for one character, as in every SentencePiece conversion (" " to "▁"): no regular
// expression needed.
class ReplaceByteNormalizer final : public Normalizer {
 public:
  ReplaceByteNormalizer(char from, std::string to) : from_(from), to_(std::move(to)) {}
  void normalize(std::string& text, RegexScratch&) const override {
    const auto count = static_cast<size_t>(std::count(text.begin(), text.end(), from_));
    std::string out;
    out.reserve(text.size() + count * to_.size());
    size_t copied = 0;
    for (size_t at; (at = text.find(from_, copied)) != std::string::npos; copied = at + 1) {
      out.append(text, copied, at - copied);
      out.append(to_);
    }
    out.append(text, copied);
    text = std::move(out);
  }
  bool is_trivial(std::string_view text) const override { return text.find(from_) == text.npos; }

 private:
  char from_;
  std::string to_;
};

class ByteLevelNormalizer final : public Normalizer {
 public:
  void normalize(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size() * 2);
    for (const char c : text) append_utf8(byte_to_char(static_cast<unsigned char>(c)), out);
    text = std::move(out);
  }
};

// What the machine translation systems at Google did before SentencePiece: no control characters, and a " " for what is
// a space in some sense.
class NmtNormalizer final : public Normalizer {
 public:
  void normalize(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t pos = 0; pos < text.size();) {
      const char32_t c = next_char(text, pos);
      if (!is_dropped(c)) append_utf8(is_space(c) ? ' ' : c, out);
    }
    text = std::move(out);
  }

 private:
  static bool is_dropped(char32_t c) {
    return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  }
  static bool is_space(char32_t c) {
    return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  }
};

using NormalizerPtr = std::unique_ptr<Normalizer>;
using NormalizerResult = Result<NormalizerPtr>;

NormalizerResult parse_replace(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode pattern_node, node.at("pattern"));
  COHORT_ASSIGN_OR_RETURN(std::string content, node.string_or("content", ""));
  if (const std::optional<JsonNode> text_node = pattern_node.find("String")) {
    COHORT_ASSIGN_OR_RETURN(const std::string text, text_node->as_string());
    if (text.size() == 1) return NormalizerPtr(new ReplaceByteNormalizer(text[0], std::move(content)));
  }
  COHORT_ASSIGN_OR_RETURN(Regex pattern, parse_pattern(pattern_node));
  return NormalizerPtr(new ReplaceNormalizer(std::move(pattern), std::move(content)));
}

NormalizerResult parse_strip(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const bool left, node.bool_or("strip_left", true));
  COHORT_ASSIGN_OR_RETURN(const bool right, node.bool_or("strip_right", true));
  return NormalizerPtr(new StripNormalizer(left, right));
}

NormalizerResult parse_precompiled(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode map_node, node.at("precompiled_charsmap"));
  COHORT_ASSIGN_OR_RETURN(const std::string base64, map_node.as_string());
  Result<Charsmap> charsmap = Charsmap::parse_base64(base64);
  if (!charsmap.ok()) return map_node.error(charsmap.status().message());
  return NormalizerPtr(new CharsmapNormalizer(*std::move(charsmap)));
}

NormalizerResult parse_bert(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const BertNormalizerOptions options, parse_bert_normalizer(node));
  return NormalizerPtr(new BertNormalizer(options));
}

NormalizerResult parse_nested(const JsonNode& node, int depth);

NormalizerResult parse_sequence(const JsonNode& node, int depth) {
  if (depth == kMaxNesting) return node.error("nested too deeply");
  COHORT_ASSIGN_OR_RETURN(const JsonNode list, node.at("normalizers"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list.elements());
  std::vector<NormalizerPtr> steps;
  for (const JsonNode& element : elements) {
    COHORT_ASSIGN_OR_RETURN(NormalizerPtr step, parse_nested(element, depth + 1));
    steps.push_back(std::move(step));
  }
  return NormalizerPtr(new SequenceNormalizer(std::move(steps)));
}

NormalizerResult parse_nested(const JsonNode& node, int depth) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode type_node, node.at("type"));
  COHORT_ASSIGN_OR_RETURN(const std::string type, type_node.as_string());
  if (type == "Sequence") return parse_sequence(node, depth);
  if (type == "NFC") return NormalizerPtr(new FormNormalizer(UnicodeNormalizer::get(UnicodeForm::kNfc)));
  if (type == "NFD") return NormalizerPtr(new FormNormalizer(UnicodeNormalizer::get(UnicodeForm::kNfd)));
  if (type == "NFKC") return NormalizerPtr(new FormNormalizer(UnicodeNormalizer::get(UnicodeForm::kNfkc)));
  if (type == "NFKD") return NormalizerPtr(new FormNormalizer(UnicodeNormalizer::get(UnicodeForm::kNfkd)));
  if (type == "Lowercase") return NormalizerPtr(new LowercaseNormalizer);
  if (type == "StripAccents") return NormalizerPtr(new StripAccentsNormalizer);
  if (type == "Strip") return parse_strip(node);
  if (type == "Prepend") {
    COHORT_ASSIGN_OR_RETURN(const JsonNode prefix_node, node.at("prepend"));
    COHORT_ASSIGN_OR_RETURN(std::string prefix, prefix_node.as_string());
    return NormalizerPtr(new PrependNormalizer(std::move(prefix)));
  }
  if (type == "Replace") return parse_replace(node);
  if (type == "ByteLevel") return NormalizerPtr(new ByteLevelNormalizer);
  if (type == "Nmt") return NormalizerPtr(new NmtNormalizer);
  if (type == "Precompiled") return parse_precompiled(node);
  if (type == "BertNormalizer") return parse_bert(node);
  return node.unknown_type(type, {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip",
                                  "Prepend", "Replace", "ByteLevel", "Nmt", "Precompiled", "BertNormalizer"});
}

}  // namespace

NormalizerResult parse_normalizer(const JsonNode& node) { return parse_nested(node, 0); }

}  // namespace cohort
