#include "runtime/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "runtime/tokenizer/unicode.h"

namespace cohort::jinja {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Every newline as "\n", and the last one gone.
std::string normalize_newlines(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), text_(source_) {}

  Result<std::vector<Token>> run() {
    while (pos_ < text_.size()) COHORT_RETURN_IF_ERROR(lex_root());
    push(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Status lex_root();
  Status lex_comment();
  Status lex_raw(size_t begin);
  Status lex_tag(bool is_block);
  Status lex_token(bool is_block, bool& is_done);
  Status lex_operator();
  Status lex_string();
  bool lex_number();
  bool lex_tag_end(bool is_block);
  Status append_escape(std::string_view raw, size_t& pos, std::string& out) const;

  char peek(size_t offset = 0) const { return pos_ + offset < text_.size() ? text_[pos_ + offset] : '\0'; }
  std::string_view rest() const { return text_.substr(pos_); }
  void push(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  Status error(std::string_view what) const { return line_error(line_, what); }

  // Goes to `pos`, which begins a line when the text up to it ends with a newline.
  void advance_to(size_t pos) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(pos_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(pos), '\n'));
    begins_line_ = pos > 0 && text_[pos - 1] == '\n';
    pos_ = pos;
  }
  void skip_space() {
    size_t pos = pos_;
    while (pos < text_.size() && is_ascii_space(text_[pos])) ++pos;
    advance_to(pos);
  }
  size_t space_end(size_t pos) const {
    while (pos < text_.size() && is_ascii_space(text_[pos])) ++pos;
    return pos;
  }

  // The data before a tag whose delimiter has `sign` ('-', '+' or 0) and which takes white space before it.
  void push_data(std::string_view data, char sign, bool is_variable);

  // After the delimiter "%}" or "#}" at `pos`, which is preceded by `sign`.
  void finish_tag(size_t pos, char sign);

  std::string source_;
  std::string_view text_;
  size_t pos_ = 0;
  int line_ = 1;
  bool begins_line_ = true;
  std::string brackets_;  // those that are open, as what closes them
  std::vector<Token> tokens_;
};

void Lexer::push_data(std::string_view data, char sign, bool is_variable) {
  size_t end = data.size();
  if (sign == '-') {
    while (end > 0 && is_ascii_space(data[end - 1])) --end;
  } else if (sign != '+' && !is_variable) {
    const size_t newline = data.rfind('\n');
    const size_t line_begin = newline == kNotFound ? 0 : newline + 1;
    const bool is_space =
        std::all_of(data.begin() + static_cast<std::ptrdiff_t>(line_begin), data.end(), is_ascii_space);
    if ((line_begin > 0 || begins_line_) && is_space) end = line_begin;
  }
  if (end > 0) push(Token::Kind::kData, std::string(data.substr(0, end)));
}

void Lexer::finish_tag(size_t pos, char sign) {
  if (sign == '-') {
    pos = space_end(pos);
  } else if (sign != '+' && pos < text_.size() && text_[pos] == '\n') {
    ++pos;
  }
  advance_to(pos);
}

Status Lexer::lex_root() {
  size_t at = pos_;
  for (;; ++at) {
    at = text_.find('{', at);
    if (at == kNotFound || at + 1 >= text_.size()) {
      push(Token::Kind::kData, std::string(rest()));
      advance_to(text_.size());
      return ok_status();
    }
    if (text_[at + 1] == '{' || text_[at + 1] == '%' || text_[at + 1] == '#') break;
  }
  const char kind = text_[at + 1];
  size_t after = at + 2;
  const char sign = after < text_.size() && (text_[after] == '-' || text_[after] == '+') ? text_[after] : '\0';
  if (sign != '\0') ++after;
  push_data(text_.substr(pos_, at - pos_), sign, kind == '{');
  advance_to(after);
  if (kind == '#') return lex_comment();
  if (kind == '%') {
    const size_t name = space_end(pos_);
    if (text_.substr(name).starts_with("raw")) {
      const size_t end = space_end(name + 3);
      if (text_.substr(end).starts_with("-%}")) return lex_raw(space_end(end + 3));
      if (text_.substr(end).starts_with("%}")) return lex_raw(end + 2);
    }
  }
  return lex_tag(kind == '%');
}

Status Lexer::lex_comment() {
  const size_t end = text_.find("#}", pos_);
  if (end == kNotFound) return error("a comment does not end");
  const char sign = end > pos_ && (text_[end - 1] == '-' || text_[end - 1] == '+') ? text_[end - 1] : '\0';
  finish_tag(end + 2, sign);
  return ok_status();
}

Status Lexer::lex_raw(size_t begin) {
  advance_to(begin);
  for (size_t at = text_.find("{%", begin); at != kNotFound; at = text_.find("{%", at + 1)) {
    size_t after = at + 2;
    const char sign = after < text_.size() && (text_[after] == '-' || text_[after] == '+') ? text_[after] : '\0';
    if (sign != '\0') ++after;
    after = space_end(after);
    if (!text_.substr(after).starts_with("endraw")) continue;
    after = space_end(after + 6);
    const char end_sign = after < text_.size() && (text_[after] == '-' || text_[after] == '+') ? text_[after] : '\0';
    if (end_sign != '\0') ++after;
    if (!text_.substr(after).starts_with("%}")) continue;
    push_data(text_.substr(begin, at - begin), sign, false);
    finish_tag(after + 2, end_sign);
    return ok_status();
  }
  return error("a raw block does not end");
}

Status Lexer::lex_tag(bool is_block) {
  push(is_block ? Token::Kind::kBlockBegin : Token::Kind::kVariableBegin, "");
  brackets_.clear();
  for (bool is_done = false; !is_done;) COHORT_RETURN_IF_ERROR(lex_token(is_block, is_done));
  return ok_status();
}

bool Lexer::lex_tag_end(bool is_block) {
  const std::string_view delimiter = is_block ? "%}" : "}}";
  const char sign = peek() == '-' || (is_block && peek() == '+') ? peek() : '\0';
  const size_t at = pos_ + (sign != '\0' ? 1 : 0);
  if (!text_.substr(std::min(at, text_.size())).starts_with(delimiter)) return false;
  push(is_block ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd, "");
  if (is_block) {
    finish_tag(at + 2, sign);
  } else {
    advance_to(sign == '-' ? space_end(at + 2) : at + 2);
  }
  return true;
}

Status Lexer::lex_token(bool is_block, bool& is_done) {
  if (brackets_.empty() && lex_tag_end(is_block)) {
    is_done = true;
    return ok_status();
  }
  if (pos_ == text_.size()) return error(is_block ? "expected '%}', got the end" : "expected '}}', got the end");
  const char c = peek();
  if (is_ascii_space(c)) {
    skip_space();
    return ok_status();
  }
  if (is_digit(c) && lex_number()) return ok_status();
  if (is_name_start(c)) {
    size_t end = pos_ + 1;
    while (end < text_.size() && (is_name_start(text_[end]) || is_digit(text_[end]))) ++end;
    push(Token::Kind::kName, std::string(text_.substr(pos_, end - pos_)));
    advance_to(end);
    return ok_status();
  }
  return c == '\'' || c == '"' ? lex_string() : lex_operator();
}

Status Lexer::lex_operator() {
  static constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                  "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                  ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
  const auto* found =
      std::find_if(kOperators.begin(), kOperators.end(), [&](std::string_view op) { return rest().starts_with(op); });
  if (found == kOperators.end()) return error("unexpected character '" + std::string(1, peek()) + "'");
  const char c = found->front();
  if (c == '{') brackets_ += '}';
  if (c == '(') brackets_ += ')';
  if (c == '[') brackets_ += ']';
  if (c == '}' || c == ')' || c == ']') {
    if (brackets_.empty() || brackets_.back() != c) return error("unexpected '" + std::string(1, c) + "'");
    brackets_.pop_back();
  }
  push(Token::Kind::kOperator, std::string(*found));
  advance_to(pos_ + found->size());
  return ok_status();
}

// The end of digits, in groups divided by single underscores, from `pos`; `pos` itself where there are none.
template <typename IsDigit>
size_t digits_end(std::string_view text, size_t pos, IsDigit is_wanted) {
  const size_t begin = pos;
  while (pos < text.size()) {
    const bool is_divided = pos > begin && text[pos] == '_' && pos + 1 < text.size() && is_wanted(text[pos + 1]);
    if (!is_wanted(text[pos]) && !is_divided) break;
    pos += is_divided ? 2 : 1;
  }
  return pos;
}

bool Lexer::lex_number() {
  const auto push_number = [&](Token::Kind kind, size_t end) {
    std::string digits(text_.substr(pos_, end - pos_));
    std::erase(digits, '_');
    push(kind, std::move(digits));
    advance_to(end);
    return true;
  };
  // A float, unless it follows a dot: in `a.0.1` these are two subscripts.
  const bool follows_dot = pos_ > 0 && text_[pos_ - 1] == '.';
  const size_t whole = digits_end(text_, pos_, is_digit);
  size_t end = whole;
  if (end < text_.size() && text_[end] == '.') {
    const size_t fraction = digits_end(text_, end + 1, is_digit);
    if (fraction > end + 1) end = fraction;
  }
  if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
    size_t exponent = end + 1;
    if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
    const size_t exponent_end = digits_end(text_, exponent, is_digit);
    if (exponent_end > exponent) end = exponent_end;
  }
  if (end > whole && !follows_dot) return push_number(Token::Kind::kFloat, end);
  if (peek() == '0') {
    const char base = static_cast<char>(peek(1) | 0x20);
    const int radix = base == 'b' ? 2 : base == 'o' ? 8 : base == 'x' ? 16 : 0;
    if (radix != 0) {
      const auto is_wanted = [&](char c) { return hex_value(c) >= 0 && hex_value(c) < radix; };
      const size_t begin = peek(2) == '_' ? pos_ + 3 : pos_ + 2;
      const size_t stop = digits_end(text_, std::min(begin, text_.size()), is_wanted);
      if (stop > begin) return push_number(Token::Kind::kInteger, stop);
    }
    return push_number(Token::Kind::kInteger, digits_end(text_, pos_, [](char c) { return c == '0'; }));
  }
  return push_number(Token::Kind::kInteger, whole);
}

// What Python's "unicode-escape" makes of the backslash at raw[pos].
Status Lexer::append_escape(std::string_view raw, size_t& pos, std::string& out) const {
  static constexpr std::string_view kLetters = "\\'\"abfnrtv";
  static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
  const char c = raw[pos + 1];
  pos += 2;
  if (c == '\n') return ok_status();
  if (const size_t letter = kLetters.find(c); letter != kNotFound) {
    out += kMeanings[letter];
    return ok_status();
  }
  char32_t code = 0;
  if (c >= '0' && c <= '7') {
    --pos;
    for (int i = 0; i < 3 && pos < raw.size() && raw[pos] >= '0' && raw[pos] <= '7'; ++i, ++pos) {
      code = code * 8 + static_cast<char32_t>(raw[pos] - '0');
    }
    append_utf8(code, out);
    return ok_status();
  }
  const size_t num_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (c == 'N') return error("\\N in a string is not supported");
  if (num_digits == 0) {  // not an escape: both characters stand for themselves
    out += '\\';
    out += c;
    return ok_status();
  }
  if (raw.size() - pos < num_digits) return error("a string ends within an escape");
  for (size_t i = 0; i < num_digits; ++i, ++pos) {
    if (hex_value(raw[pos]) < 0) return error("expected hexadecimal digits in an escape");
    code = code * 16 + static_cast<char32_t>(hex_value(raw[pos]));
    if (code > 0x10FFFF) return error("an escape names no Unicode character");
  }
  if (code >= 0xD800 && code <= 0xDFFF) return error("an escape names a surrogate, which is no character");
  append_utf8(code, out);
  return ok_status();
}

Status Lexer::lex_string() {
  const char quote = peek();
  size_t end = pos_ + 1;
  while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
  if (end >= text_.size()) return error("a string does not end");
  const std::string_view raw = text_.substr(pos_ + 1, end - pos_ - 1);
  std::string value;
  for (size_t pos = 0; pos < raw.size();) {
    if (raw[pos] == '\\') {
      COHORT_RETURN_IF_ERROR(append_escape(raw, pos, value));
    } else {
      value += raw[pos++];
    }
  }
  push(Token::Kind::kString, std::move(value));
  advance_to(end + 1);
  return ok_status();
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(normalize_newlines(source)).run(); }

Status line_error(int line, std::string_view what) {
  return invalid_argument("line " + std::to_string(line) + ": " + std::string(what));
}

}  // namespace cohort::jinja
