// Expressions of a template, from its tokens. Grammar and precedence are those of jinja2/parser.py.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/token_stream.h"

namespace cohort::jinja {

// Expressions or statements within each other.
inline constexpr int kMaxNesting = 128;

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  // An expression; without `with_condition`, "a if b" ends after a.
  Result<ExpressionPtr> parse_expression(bool with_condition = true);

  // One expression, or a tuple of several without parentheses.
  Result<ExpressionPtr> parse_tuple(bool with_condition = true);

  // An operand with its subscripts and calls, but no operator: what {% call %} takes.
  Result<ExpressionPtr> parse_operand();

  // The filters at a '|', applied to `operand`, which is null for a block.
  Result<ExpressionPtr> parse_filters(ExpressionPtr operand);

  // A filter's name and arguments, and the filters after it.
  Result<ExpressionPtr> parse_named_filters();

 private:
  Result<ExpressionPtr> parse_conditional();
  Result<ExpressionPtr> parse_or();
  Result<ExpressionPtr> parse_and();
  Result<ExpressionPtr> parse_not();
  Result<ExpressionPtr> parse_comparison();
  Result<ExpressionPtr> parse_sum();
  Result<ExpressionPtr> parse_concat();
  Result<ExpressionPtr> parse_product();
  Result<ExpressionPtr> parse_power();
  Result<ExpressionPtr> parse_unary() { return parse_signed(true); }
  Result<ExpressionPtr> parse_signed(bool with_filters);
  Result<ExpressionPtr> parse_primary();
  Result<ExpressionPtr> parse_number();
  Result<ExpressionPtr> parse_string();
  Result<ExpressionPtr> parse_parentheses();
  Result<ExpressionPtr> parse_list();
  Result<ExpressionPtr> parse_dict();
  Result<ExpressionPtr> parse_postfix(ExpressionPtr operand);
  Result<ExpressionPtr> parse_subscript(ExpressionPtr object);
  Result<ExpressionPtr> parse_filter(ExpressionPtr operand);
  Result<ExpressionPtr> parse_test(ExpressionPtr operand);
  Result<ArgumentList> parse_arguments();

  // The rest of a tuple whose first item is parsed, up to what cannot begin an expression.
  Result<ExpressionPtr> parse_tuple_rest(int line, ExpressionPtr first, bool with_condition);
  bool is_tuple_end() const;

  TokenStream& tokens_;
  int nesting_ = 0;
};

}  // namespace cohort::jinja
