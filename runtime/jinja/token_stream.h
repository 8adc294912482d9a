// The tokens of a template, one after the other, with what a parser asks of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/jinja/lexer.h"

namespace cohort::jinja {

class TokenStream {
 public:
  // Requires that the last token is of kind kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[pos_]; }
  int line() const { return current().line; }

  // Moves on and returns the token that was current; stays at the end.
  const Token& next() { return tokens_[pos_ + 1 < tokens_.size() ? pos_++ : pos_]; }

  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool is_name(std::string_view name) const { return is(Token::Kind::kName) && current().text == name; }
  bool is_operator(std::string_view op) const { return is(Token::Kind::kOperator) && current().text == op; }

  // Whether the token after the current one is this.
  bool next_is_name(std::string_view name) const {
    return pos_ + 1 < tokens_.size() && tokens_[pos_ + 1].kind == Token::Kind::kName && tokens_[pos_ + 1].text == name;
  }

  bool next_is_operator(std::string_view op) const {
    return pos_ + 1 < tokens_.size() && tokens_[pos_ + 1].kind == Token::Kind::kOperator &&
           tokens_[pos_ + 1].text == op;
  }

  // Moves on where the current token is this.
  bool skip_name(std::string_view name) { return is_name(name) && (next(), true); }
  bool skip_operator(std::string_view op) { return is_operator(op) && (next(), true); }

  Status expect(Token::Kind kind, std::string_view what);
  Status expect_operator(std::string_view op);
  Result<std::string> expect_name();

  // "line N: expected <what>, got <the current token>".
  Status expected(std::string_view what) const;

 private:
  std::vector<Token> tokens_;
  size_t pos_ = 0;
};

}  // namespace cohort::jinja
