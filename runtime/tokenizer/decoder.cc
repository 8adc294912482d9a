#include "runtime/tokenizer/decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "runtime/tokenizer/byte_token.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr int kMaxNesting = 16;

// Without a decoder: tokens with spaces between them.
class JoinStage final : public DecodeStage {
 public:
  void push(std::string_view text, bool continues) override {
    if (!is_first_ && !continues) emit(" ", false);
    is_first_ = false;
    emit(text, continues);
  }

 private:
  bool is_first_ = true;
};

// Gathers a token that comes in parts, for a stage that needs to see the whole.
class CollectStage final : public DecodeStage {
 public:
  void push(std::string_view text, bool) override {
    text_ += text;
    is_empty_ = false;
  }
  void finish() override {
    if (!is_empty_) emit(text_, false);
    DecodeStage::finish();
  }

 private:
  std::string text_;
  bool is_empty_ = true;
};

// Characters of GPT-2's alphabet to bytes to text. A token with another character stands for
// itself.
class ByteLevelStage final : public DecodeStage {
 public:
  void push(std::string_view text, bool) override {
    bytes_.clear();
    for (size_t pos = 0; pos < text.size();) {
      const int byte = char_to_byte(next_char(text, pos));
      if (byte < 0) {
        bytes_ = text;
        break;
      }
      bytes_ += static_cast<char>(byte);
    }
    out_.clear();
    assembler_.append(bytes_, out_);
    pass_on();
  }
  void finish() override {
    out_.clear();
    assembler_.finish(out_);
    pass_on();
    DecodeStage::finish();
  }

 private:
  void pass_on() {
    if (out_.empty()) return;
    emit(out_, continues_);
    continues_ = true;
  }

  Utf8Assembler assembler_{Utf8Assembler::OnInvalid::kReplaceSubpart};
  bool continues_ = false;
  std::string bytes_;
  std::string out_;
};

// Runs of "<0xXX>" to text. Hugging Face writes a run that is not valid UTF-8 as one U+FFFD per
// byte, all of it, which can only be told at its end; a stream replaces the bytes that are wrong
// and keeps the characters before them.
class ByteFallbackStage final : public DecodeStage {
 public:
  explicit ByteFallbackStage(DecodeMode mode) : mode_(mode) {}
  void push(std::string_view text, bool) override {
    const std::optional<char> byte = parse_byte_token(text);
    if (!byte) {
      end_run();
      emit(text, false);
    } else if (mode_ == DecodeMode::kWhole) {
      run_ += *byte;
    } else {
      out_.clear();
      assembler_.append(std::string_view(&*byte, 1), out_);
      if (!out_.empty()) emit(out_, false);
    }
  }
  void finish() override {
    end_run();
    DecodeStage::finish();
  }

 private:
  void end_run() {
    out_.clear();
    if (mode_ == DecodeMode::kStream) {
      assembler_.finish(out_);
    } else if (is_valid_utf8(run_)) {
      out_ = run_;
    } else {
      for (size_t i = 0; i < run_.size(); ++i) out_ += kReplacementCharacter;
    }
    run_.clear();
    if (!out_.empty()) emit(out_, false);
  }

  DecodeMode mode_;
  Utf8Assembler assembler_{Utf8Assembler::OnInvalid::kReplaceByte};
  std::string run_;
  std::string out_;
};

class FuseStage final : public DecodeStage {
 public:
  void push(std::string_view text, bool) override {
    emit(text, continues_);
    continues_ = true;
  }

 private:
  bool continues_ = false;
};

// Takes up to `num_start` of a character off the front of each token.
class StripStartStage final : public DecodeStage {
 public:
  StripStartStage(char32_t content, int64_t num_start) : num_start_(num_start) { append_utf8(content, content_); }
  void push(std::string_view text, bool continues) override {
    if (!continues) num_left_ = num_start_;
    while (num_left_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --num_left_;
    }
    if (!text.empty()) num_left_ = 0;
    emit(text, continues);
  }

 private:
  int64_t num_start_;
  int64_t num_left_ = 0;
  std::string content_;
};

class StripEndStage final : public DecodeStage {
 public:
  StripEndStage(char32_t content, int64_t num_end) : num_end_(num_end) { append_utf8(content, content_); }
  void push(std::string_view text, bool continues) override {
    for (int64_t i = 0; i < num_end_ && text.ends_with(content_); ++i) text.remove_suffix(content_.size());
    emit(text, continues);
  }

 private:
  int64_t num_end_;
  std::string content_;
};

class ReplaceStage final : public DecodeStage {
 public:
  ReplaceStage(std::shared_ptr<const Regex> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void push(std::string_view text, bool continues) override {
    out_.clear();
    size_t copied = 0;
    Regex::Iterator matches(*pattern_, text, scratch_);
    for (Regex::Match match; matches.next(match); copied = match.end) {
      out_.append(text.substr(copied, match.begin - copied)).append(content_);
    }
    out_.append(text.substr(copied));
    emit(out_, continues);
  }

 private:
  std::shared_ptr<const Regex> pattern_;
  std::string content_;
  std::string out_;
  RegexScratch scratch_;
};

// Replaces a plain text, as nearly every file does; spares the regular expression.
class ReplaceTextStage final : public DecodeStage {
 public:
  ReplaceTextStage(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void push(std::string_view text, bool continues) override {
    out_.clear();
    size_t copied = 0;
    for (size_t at; (at = text.find(from_, copied)) != text.npos; copied = at + from_.size()) {
      out_.append(text.substr(copied, at - copied)).append(to_);
    }
    out_.append(text.substr(copied));
    emit(out_, continues);
  }

 private:
  std::string from_;
  std::string to_;
  std::string out_;
};

// "▁" to a space, and to nothing in the first token where encoding put one there.
class MetaspaceStage final : public DecodeStage {
 public:
  MetaspaceStage(char32_t replacement, bool drops_first) : drops_(drops_first) { append_utf8(replacement, marker_); }
  void push(std::string_view text, bool continues) override {
    if (!continues && num_tokens_++ > 0) drops_ = false;
    out_.clear();
    size_t copied = 0;
    for (size_t at; (at = text.find(marker_, copied)) != text.npos; copied = at + marker_.size()) {
      out_.append(text.substr(copied, at - copied)).append(drops_ ? "" : " ");
    }
    out_.append(text.substr(copied));
    emit(out_, continues);
  }

 private:
  std::string marker_;
  bool drops_;
  int64_t num_tokens_ = 0;
  std::string out_;
};

// The end-of-word suffix to a space, but for the last token, to which it is the end of the text.
class BpeStage final : public DecodeStage {
 public:
  explicit BpeStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void push(std::string_view text, bool) override {
    release(" ");
    held_ = std::string(text);
  }
  void finish() override {
    release("");
    DecodeStage::finish();
  }

 private:
  void release(std::string_view replacement) {
    if (!held_) return;
    std::string out;
    size_t copied = 0;
    for (size_t at; !suffix_.empty() && (at = held_->find(suffix_, copied)) != held_->npos;
         copied = at + suffix_.size()) {
      out.append(*held_, copied, at - copied).append(replacement);
    }
    out.append(*held_, copied);
    held_.reset();
    emit(out, false);
  }

  std::string suffix_;
  std::optional<std::string> held_;
};

// Tokens with spaces between them, but for those that continue a word. Clean-up takes spaces away that English does not
// have, token by token, as Hugging Face does.
class WordPieceStage final : public DecodeStage {
 public:
  WordPieceStage(std::string prefix, bool cleans_up) : prefix_(std::move(prefix)), cleans_up_(cleans_up) {}
  void push(std::string_view text, bool) override {
    token_.clear();
    if (!is_first_ && text.starts_with(prefix_)) {
      text.remove_prefix(prefix_.size());
    } else if (!is_first_) {
      token_ = ' ';
    }
    token_ += text;
    is_first_ = false;
    if (cleans_up_) clean_up();
    emit(token_, false);
  }

 private:
  void clean_up() {
    static constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (const auto& [from, to] : kReplacements) {
      for (size_t at = 0; (at = token_.find(from, at)) != std::string::npos; at += to.size()) {
        token_.replace(at, from.size(), to);
      }
    }
  }

  std::string prefix_;
  bool cleans_up_;
  bool is_first_ = true;
  std::string token_;
};

}  // namespace

class DecodeChain::Sink final : public DecodeStage {
 public:
  void push(std::string_view piece, bool) override { text += piece; }
  void finish() override {}

  std::string text;
};

DecodeChain::DecodeChain(std::vector<std::unique_ptr<DecodeStage>> stages)
    : sink_(std::make_unique<Sink>()), stages_(std::move(stages)) {
  if (stages_.empty()) stages_.push_back(std::make_unique<FuseStage>());
  for (size_t i = 0; i + 1 < stages_.size(); ++i) stages_[i]->set_next(stages_[i + 1].get());
  stages_.back()->set_next(sink_.get());
}

DecodeChain::~DecodeChain() = default;

std::string DecodeChain::take() { return std::exchange(sink_->text, {}); }

void Utf8Assembler::replace(size_t num_bytes, std::string& out) const {
  const size_t count = on_invalid_ == OnInvalid::kReplaceByte ? num_bytes : 1;
  for (size_t i = 0; i < count; ++i) out += kReplacementCharacter;
}

void Utf8Assembler::append(std::string_view bytes, std::string& out) {
  if (pending_.empty() && is_valid_utf8(bytes)) {
    out += bytes;
    return;
  }
  pending_ += bytes;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Prefix prefix = classify_utf8_prefix(rest);
    if (prefix.kind == Utf8Prefix::kTruncated) break;
    if (prefix.kind == Utf8Prefix::kCharacter) {
      out += rest.substr(0, prefix.num_bytes);
    } else {
      replace(prefix.num_bytes, out);
    }
    rest.remove_prefix(prefix.num_bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
}

void Utf8Assembler::finish(std::string& out) {
  if (!pending_.empty()) replace(pending_.size(), out);
  pending_.clear();
}

TokenDecoder::TokenDecoder() : steps_{{[](DecodeMode) { return std::make_unique<JoinStage>(); }, false, false}} {}

std::unique_ptr<DecodeChain> TokenDecoder::open(DecodeMode mode) const {
  std::vector<std::unique_ptr<DecodeStage>> stages;
  bool is_fused = false;
  for (const Step& step : steps_) {
    if (is_fused && step.needs_whole_tokens) {
      stages.push_back(std::make_unique<CollectStage>());
      is_fused = false;
    }
    stages.push_back(step.make(mode));
    is_fused |= step.fuses;
  }
  return std::make_unique<DecodeChain>(std::move(stages));
}

// Collects the steps of a "decoder" value.
struct TokenDecoder::Parser {
  std::vector<Step> steps;

  void add(StageFactory make, bool needs_whole_tokens, bool fuses) {
    steps.push_back({std::move(make), needs_whole_tokens, fuses});
  }
  Status parse(const JsonNode& node, int depth);
  Status parse_sequence(const JsonNode& node, int depth);
  Status parse_strip(const JsonNode& node);
  Status parse_replace(const JsonNode& node);
  Status parse_metaspace(const JsonNode& node);
  Status parse_bpe(const JsonNode& node);
  Status parse_word_piece(const JsonNode& node);
};

Status TokenDecoder::Parser::parse_sequence(const JsonNode& node, int depth) {
  if (depth == kMaxNesting) return node.error("nested too deeply");
  COHORT_ASSIGN_OR_RETURN(const JsonNode list, node.at("decoders"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list.elements());
  for (const JsonNode& element : elements) COHORT_RETURN_IF_ERROR(parse(element, depth + 1));
  return ok_status();
}

Status TokenDecoder::Parser::parse_strip(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode content_node, node.at("content"));
  COHORT_ASSIGN_OR_RETURN(const char32_t content, content_node.as_char());
  COHORT_ASSIGN_OR_RETURN(const int64_t num_start, node.int_or("start", 0));
  COHORT_ASSIGN_OR_RETURN(const int64_t num_end, node.int_or("stop", 0));
  if (num_start > 0) {
    add([=](DecodeMode) { return std::make_unique<StripStartStage>(content, num_start); }, false, false);
  }
  if (num_end > 0) {
    add([=](DecodeMode) { return std::make_unique<StripEndStage>(content, num_end); }, true, false);
  }
  return ok_status();
}

Status TokenDecoder::Parser::parse_replace(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode pattern_node, node.at("pattern"));
  COHORT_ASSIGN_OR_RETURN(const std::string content, node.string_or("content", ""));
  if (const std::optional<JsonNode> text_node = pattern_node.find("String")) {
    COHORT_ASSIGN_OR_RETURN(const std::string text, text_node->as_string());
    if (!text.empty()) {
      add([=](DecodeMode) { return std::make_unique<ReplaceTextStage>(text, content); }, true, false);
      return ok_status();
    }
  }
  COHORT_ASSIGN_OR_RETURN(Regex regex, parse_pattern(pattern_node));
  const auto pattern = std::make_shared<const Regex>(std::move(regex));
  add([=](DecodeMode) { return std::make_unique<ReplaceStage>(pattern, content); }, true, false);
  return ok_status();
}

Status TokenDecoder::Parser::parse_metaspace(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode replacement_node, node.at("replacement"));
  COHORT_ASSIGN_OR_RETURN(const char32_t replacement, replacement_node.as_char());
  COHORT_ASSIGN_OR_RETURN(const PrependScheme scheme, parse_prepend_scheme(node));
  const bool drops_first = scheme != PrependScheme::kNever;
  add([=](DecodeMode) { return std::make_unique<MetaspaceStage>(replacement, drops_first); }, false, false);
  return ok_status();
}

Status TokenDecoder::Parser::parse_bpe(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const std::string suffix, node.string_or("suffix", "</w>"));
  add([=](DecodeMode) { return std::make_unique<BpeStage>(suffix); }, true, false);
  return ok_status();
}

Status TokenDecoder::Parser::parse_word_piece(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const std::string prefix, node.string_or("prefix", "##"));
  COHORT_ASSIGN_OR_RETURN(const bool cleans_up, node.bool_or("cleanup", true));
  add([=](DecodeMode) { return std::make_unique<WordPieceStage>(prefix, cleans_up); }, true, false);
  return ok_status();
}

Status TokenDecoder::Parser::parse(const JsonNode& node, int depth) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode type_node, node.at("type"));
  COHORT_ASSIGN_OR_RETURN(const std::string type, type_node.as_string());
  if (type == "Sequence") return parse_sequence(node, depth);
  if (type == "Strip") return parse_strip(node);
  if (type == "Replace") return parse_replace(node);
  if (type == "Metaspace") return parse_metaspace(node);
  if (type == "BPEDecoder") return parse_bpe(node);
  if (type == "WordPiece") return parse_word_piece(node);
  if (type == "ByteLevel") {
    add([](DecodeMode) { return std::make_unique<ByteLevelStage>(); }, true, true);
  } else if (type == "ByteFallback") {
    add([](DecodeMode mode) { return std::make_unique<ByteFallbackStage>(mode); }, true, false);
  } else if (type == "Fuse") {
    add([](DecodeMode) { return std::make_unique<FuseStage>(); }, false, true);
  } else {
    return node.unknown_type(type, {"Sequence", "ByteLevel", "ByteFallback", "Fuse", "Strip", "Replace", "Metaspace",
                                    "BPEDecoder", "WordPiece"});
  }
  return ok_status();
}

Result<TokenDecoder> parse_decoder(const JsonNode& node) {
  TokenDecoder::Parser parser;
  COHORT_RETURN_IF_ERROR(parser.parse(node, 0));
  TokenDecoder decoder;
  decoder.steps_ = std::move(parser.steps);
  return decoder;
}

}  // namespace cohort
