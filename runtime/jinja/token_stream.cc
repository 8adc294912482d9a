#include "runtime/jinja/token_stream.h"

namespace cohort::jinja {
namespace {

std::string quote(std::string_view text) {
  std::string quoted = "'";
  return quoted.append(text).append("'");
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kData:
      return "text";
    case Token::Kind::kVariableBegin:
      return "'{{'";
    case Token::Kind::kVariableEnd:
      return "'}}'";
    case Token::Kind::kBlockBegin:
      return "'{%'";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    case Token::Kind::kString:
      return "a string";
    case Token::Kind::kName:
    case Token::Kind::kInteger:
    case Token::Kind::kFloat:
    case Token::Kind::kOperator:
      return quote(token.text);
    case Token::Kind::kEnd:
      return "the end of the template";
  }
  return "";
}

}  // namespace

Status TokenStream::expect(Token::Kind kind, std::string_view what) {
  if (!is(kind)) return expected(what);
  next();
  return ok_status();
}

Status TokenStream::expect_operator(std::string_view op) {
  return skip_operator(op) ? ok_status() : expected(quote(op));
}

Result<std::string> TokenStream::expect_name() {
  if (!is(Token::Kind::kName)) return expected("a name");
  return next().text;
}

Status TokenStream::expected(std::string_view what) const {
  return line_error(line(), "expected " + std::string(what) + ", got " + describe(current()));
}

}  // namespace cohort::jinja
