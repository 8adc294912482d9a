#include "runtime/tokenizer/pre_tokenizer.h"

#include <optional>

#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/split_behavior.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr int kMaxNesting = 16;

// The pattern of GPT-2's encoder.py, which ByteLevel runs unless told otherwise.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class SequencePreTokenizer final : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void split(PieceList& list, RegexScratch& scratch) const override {
    for (const auto& step : steps_) step->split(list, scratch);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

class RegexSplit final : public PreTokenizer {
 public:
  RegexSplit(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(PieceList& list, RegexScratch& scratch) const override {
    std::vector<Piece> pieces;
    pieces.reserve(list.text.size() / 4 + list.pieces.size());
    Splitter splitter(behavior_, invert_, pieces);
    for (const Piece& piece : list.pieces) {
      splitter.begin(piece);
      Regex::Iterator matches(pattern_, list.view(piece), scratch);
      for (Regex::Match match; matches.next(match);) {
        splitter.delimiter(piece.begin + match.begin, piece.begin + match.end);
      }
      splitter.finish();
    }
    list.pieces = std::move(pieces);
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Splits at every character that a predicate names.
template <typename IsDelimiter>
class CharSplit final : public PreTokenizer {
 public:
  CharSplit(IsDelimiter is_delimiter, SplitBehavior behavior) : is_delimiter_(is_delimiter), behavior_(behavior) {}
  void split(PieceList& list, RegexScratch&) const override {
    std::vector<Piece> pieces;
    Splitter splitter(behavior_, false, pieces);
    for (const Piece& piece : list.pieces) {
      splitter.begin(piece);
      for (size_t pos = piece.begin; pos < piece.end;) {
        const size_t begin = pos;
        if (is_delimiter_(next_char(list.text, pos))) splitter.delimiter(begin, pos);
      }
      splitter.finish();
    }
    list.pieces = std::move(pieces);
  }

 private:
  IsDelimiter is_delimiter_;
  SplitBehavior behavior_;
};

// Rewrites the pieces one by one: append(view, piece, out) appends the new text of a piece.
template <typename Append>
void rewrite_pieces(PieceList& list, Append append) {
  std::string text;
  text.reserve(list.text.size() * 2);
  for (Piece& piece : list.pieces) {
    const size_t begin = text.size();
    append(list.view(piece), piece, text);
    piece.begin = begin;
    piece.end = text.size();
  }
  list.text = std::move(text);
}

class PrefixSpace final : public PreTokenizer {
 public:
  void split(PieceList& list, RegexScratch&) const override {
    rewrite_pieces(list, [](std::string_view view, const Piece&, std::string& out) {
      if (!view.starts_with(' ')) out += ' ';
      out += view;
    });
  }
};

class ByteAlphabet final : public PreTokenizer {
 public:
  void split(PieceList& list, RegexScratch&) const override {
    rewrite_pieces(list, [](std::string_view view, const Piece&, std::string& out) {
      for (const char c : view) append_utf8(byte_to_char(static_cast<unsigned char>(c)), out);
    });
  }
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(char32_t replacement, PrependScheme scheme, bool splits)
      : replacement_(replacement), scheme_(scheme), splits_(splits) {
    append_utf8(replacement, marker_);
  }
  void split(PieceList& list, RegexScratch& scratch) const override {
    rewrite_pieces(list, [this](std::string_view view, const Piece& piece, std::string& out) {
      const bool may_prepend =
          scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && piece.is_first);
      if (may_prepend && !view.starts_with(' ') && !view.starts_with(marker_)) out += marker_;
      size_t copied = 0;
      for (size_t at; (at = view.find(' ', copied)) != view.npos; copied = at + 1) {
        out.append(view.substr(copied, at - copied)).append(marker_);
      }
      out.append(view.substr(copied));
    });
    if (!splits_) return;
    const auto is_marker = [this](char32_t c) { return c == replacement_; };
    CharSplit(is_marker, SplitBehavior::kMergedWithNext).split(list, scratch);
  }

 private:
  char32_t replacement_;
  PrependScheme scheme_;
  bool splits_;
  std::string marker_;
};

using PreTokenizerPtr = std::unique_ptr<PreTokenizer>;
using PreTokenizerResult = Result<PreTokenizerPtr>;

template <typename IsDelimiter>
PreTokenizerPtr make_char_split(IsDelimiter is_delimiter, SplitBehavior behavior) {
  return std::make_unique<CharSplit<IsDelimiter>>(is_delimiter, behavior);
}

PreTokenizerPtr make_sequence(std::vector<PreTokenizerPtr> steps) {
  return std::make_unique<SequencePreTokenizer>(std::move(steps));
}

PreTokenizerResult make_regex_split(std::string_view pattern, SplitBehavior behavior, bool invert) {
  COHORT_ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern));
  return PreTokenizerPtr(new RegexSplit(std::move(regex), behavior, invert));
}

PreTokenizerResult parse_byte_level(const JsonNode& node, bool yields_bytes) {
  COHORT_ASSIGN_OR_RETURN(const bool adds_space, node.bool_or("add_prefix_space", true));
  COHORT_ASSIGN_OR_RETURN(const bool uses_regex, node.bool_or("use_regex", true));
  std::vector<PreTokenizerPtr> steps;
  if (adds_space) steps.push_back(std::make_unique<PrefixSpace>());
  if (uses_regex) {
    COHORT_ASSIGN_OR_RETURN(PreTokenizerPtr split, make_regex_split(kGpt2Pattern, SplitBehavior::kIsolated, false));
    steps.push_back(std::move(split));
  }
  if (!yields_bytes) steps.push_back(std::make_unique<ByteAlphabet>());
  return make_sequence(std::move(steps));
}

PreTokenizerResult parse_split(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode pattern_node, node.at("pattern"));
  COHORT_ASSIGN_OR_RETURN(Regex pattern, parse_pattern(pattern_node));
  COHORT_ASSIGN_OR_RETURN(const SplitBehavior behavior, parse_split_behavior(node));
  COHORT_ASSIGN_OR_RETURN(const bool invert, node.bool_or("invert", false));
  return PreTokenizerPtr(new RegexSplit(std::move(pattern), behavior, invert));
}

PreTokenizerResult parse_metaspace(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode replacement_node, node.at("replacement"));
  COHORT_ASSIGN_OR_RETURN(const char32_t replacement, replacement_node.as_char());
  COHORT_ASSIGN_OR_RETURN(const PrependScheme scheme, parse_prepend_scheme(node));
  COHORT_ASSIGN_OR_RETURN(const bool splits, node.bool_or("split", true));
  return PreTokenizerPtr(new Metaspace(replacement, scheme, splits));
}

PreTokenizerResult parse_punctuation(const JsonNode& node) {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  if (node.find("behavior")) {
    COHORT_ASSIGN_OR_RETURN(behavior, parse_split_behavior(node));
  }
  return make_char_split(is_punctuation, behavior);
}

PreTokenizerResult parse_digits(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const bool individual, node.bool_or("individual_digits", false));
  return make_char_split(is_numeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

PreTokenizerResult parse_char_delimiter(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode delimiter_node, node.at("delimiter"));
  COHORT_ASSIGN_OR_RETURN(const char32_t delimiter, delimiter_node.as_char());
  return make_char_split([delimiter](char32_t c) { return c == delimiter; }, SplitBehavior::kRemoved);
}

PreTokenizerPtr make_bert() {
  std::vector<PreTokenizerPtr> steps;
  steps.push_back(make_char_split(is_white_space, SplitBehavior::kRemoved));
  steps.push_back(make_char_split(is_punctuation, SplitBehavior::kIsolated));
  return make_sequence(std::move(steps));
}

PreTokenizerResult parse_nested(const JsonNode& node, int depth, bool yields_bytes);

PreTokenizerResult parse_sequence(const JsonNode& node, int depth, bool yields_bytes) {
  if (depth == kMaxNesting) return node.error("nested too deeply");
  COHORT_ASSIGN_OR_RETURN(const JsonNode list, node.at("pretokenizers"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list.elements());
  std::vector<PreTokenizerPtr> steps;
  for (size_t i = 0; i < elements.size(); ++i) {
    const bool is_last = i + 1 == elements.size();
    COHORT_ASSIGN_OR_RETURN(PreTokenizerPtr step, parse_nested(elements[i], depth + 1, yields_bytes && is_last));
    steps.push_back(std::move(step));
  }
  return make_sequence(std::move(steps));
}

PreTokenizerResult parse_nested(const JsonNode& node, int depth, bool yields_bytes) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode type_node, node.at("type"));
  COHORT_ASSIGN_OR_RETURN(const std::string type, type_node.as_string());
  if (type == "Sequence") return parse_sequence(node, depth, yields_bytes);
  if (type == "ByteLevel") return parse_byte_level(node, yields_bytes);
  if (type == "Split") return parse_split(node);
  if (type == "Metaspace") return parse_metaspace(node);
  if (type == "Digits") return parse_digits(node);
  if (type == "Punctuation") return parse_punctuation(node);
  if (type == "Whitespace") {
    return make_regex_split(R"([\w\x{200C}\x{200D}]+|[^\w\x{200C}\x{200D}\s]+)", SplitBehavior::kRemoved, true);
  }
  if (type == "WhitespaceSplit") return make_char_split(is_white_space, SplitBehavior::kRemoved);
  if (type == "CharDelimiterSplit") return parse_char_delimiter(node);
  if (type == "BertPreTokenizer") return make_bert();
  return node.unknown_type(type, {"Sequence", "ByteLevel", "Split", "Metaspace", "Digits", "Punctuation", "Whitespace",
                                  "WhitespaceSplit", "CharDelimiterSplit", "BertPreTokenizer"});
}

// The type of the step that runs last, within sequences too.
std::string last_type(const JsonNode& node) {
  const nlohmann::json* step = &node.value();
  while (step->is_object() && step->value("type", nlohmann::json()) == "Sequence") {
    const auto list = step->find("pretokenizers");
    if (list == step->end() || !list->is_array() || list->empty()) return "";
    step = &list->back();
  }
  if (!step->is_object()) return "";
  const nlohmann::json type = step->value("type", nlohmann::json());
  return type.is_string() ? type.get<std::string>() : "";
}

}  // namespace

Result<PreTokenizerSpec> parse_pre_tokenizer(const JsonNode& node, bool model_takes_bytes) {
  PreTokenizerSpec spec;
  spec.yields_bytes = model_takes_bytes && last_type(node) == "ByteLevel";
  COHORT_ASSIGN_OR_RETURN(spec.pre_tokenizer, parse_nested(node, 0, spec.yields_bytes));
  return spec;
}

Result<PrependScheme> parse_prepend_scheme(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const bool adds_space, node.bool_or("add_prefix_space", true));
  const std::optional<JsonNode> scheme_node = node.find("prepend_scheme");
  if (!scheme_node) return adds_space ? PrependScheme::kAlways : PrependScheme::kNever;
  COHORT_ASSIGN_OR_RETURN(const std::string scheme, scheme_node->as_string());
  if (scheme == "never") return PrependScheme::kNever;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme == "always") return PrependScheme::kAlways;
  return scheme_node->error("\"" + scheme + "\" is not known; known: never, first, always");
}

}  // namespace cohort
