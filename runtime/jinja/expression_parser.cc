#include "runtime/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "runtime/jinja/builtins.h"

namespace cohort::jinja {
namespace {

using Kind = Token::Kind;

int depth_of(const ExpressionPtr& expression) { return expression == nullptr ? 0 : expression->depth; }

template <typename Expressions>
int max_depth(const Expressions& expressions) {
  int depth = 0;
  for (const ExpressionPtr& expression : expressions) depth = std::max(depth, depth_of(expression));
  return depth;
}

int max_depth(const ArgumentList& arguments) {
  int depth = max_depth(arguments.positional);
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, depth_of(value));
  return depth;
}

// `depth`: of the deepest expression in `node`.
template <typename Node>
Result<ExpressionPtr> make(int line, int depth, Node node) {
  if (depth >= kMaxNesting) return line_error(line, "expressions nest too deep");
  return ExpressionPtr(new Expression{line, depth + 1, std::move(node)});
}

Result<ExpressionPtr> make_literal(int line, Value value) { return make(line, 0, LiteralExpression{std::move(value)}); }

// Counts one more level for as long as it lives.
class Level {
 public:
  explicit Level(int& nesting) : nesting_(nesting) { ++nesting_; }
  ~Level() { --nesting_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& nesting_;
};

}  // namespace

Result<ExpressionPtr> ExpressionParser::parse_expression(bool with_condition) {
  const Level level(nesting_);
  if (nesting_ > kMaxNesting) return line_error(tokens_.line(), "expressions nest too deep");
  return with_condition ? parse_conditional() : parse_or();
}

bool ExpressionParser::is_tuple_end() const {
  return tokens_.is(Kind::kVariableEnd) || tokens_.is(Kind::kBlockEnd) || tokens_.is_operator(")");
}

Result<ExpressionPtr> ExpressionParser::parse_tuple_rest(int line, ExpressionPtr first, bool with_condition) {
  SequenceExpression tuple{.is_tuple = true, .items = {}};
  tuple.items.push_back(std::move(first));
  while (tokens_.skip_operator(",") && !is_tuple_end()) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr item, parse_expression(with_condition));
    tuple.items.push_back(std::move(item));
  }
  const int depth = max_depth(tuple.items);
  return make(line, depth, std::move(tuple));
}

Result<ExpressionPtr> ExpressionParser::parse_tuple(bool with_condition) {
  const int line = tokens_.line();
  if (is_tuple_end()) return tokens_.expected("an expression");
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr first, parse_expression(with_condition));
  if (!tokens_.is_operator(",")) return first;
  return parse_tuple_rest(line, std::move(first), with_condition);
}

Result<ExpressionPtr> ExpressionParser::parse_operand() {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr operand, parse_primary());
  return parse_postfix(std::move(operand));
}

Result<ExpressionPtr> ExpressionParser::parse_conditional() {
  int line = tokens_.line();
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr value, parse_or());
  while (tokens_.skip_name("if")) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr condition, parse_or());
    ExpressionPtr otherwise;
    if (tokens_.skip_name("else")) {
      COHORT_ASSIGN_OR_RETURN(otherwise, parse_expression());
    }
    const int depth = std::max({depth_of(value), depth_of(condition), depth_of(otherwise)});
    ConditionalExpression node{std::move(condition), std::move(value), std::move(otherwise)};
    COHORT_ASSIGN_OR_RETURN(value, make(line, depth, std::move(node)));
    line = tokens_.line();
  }
  return value;
}

Result<ExpressionPtr> ExpressionParser::parse_or() {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr left, parse_and());
  while (tokens_.is_name("or")) {
    const int line = tokens_.next().line;
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr right, parse_and());
    const int depth = std::max(depth_of(left), depth_of(right));
    COHORT_ASSIGN_OR_RETURN(left, make(line, depth, LogicalExpression{false, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::parse_and() {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr left, parse_not());
  while (tokens_.is_name("and")) {
    const int line = tokens_.next().line;
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr right, parse_not());
    const int depth = std::max(depth_of(left), depth_of(right));
    COHORT_ASSIGN_OR_RETURN(left, make(line, depth, LogicalExpression{true, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_comparison();
  const int line = tokens_.next().line;
  const Level level(nesting_);
  if (nesting_ > kMaxNesting) return line_error(line, "expressions nest too deep");
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr operand, parse_not());
  const int depth = depth_of(operand);
  return make(line, depth, UnaryExpression{UnaryOperator::kNot, std::move(operand)});
}

Result<ExpressionPtr> ExpressionParser::parse_comparison() {
  static constexpr std::pair<std::string_view, Comparator> kComparators[] = {
      {"==", Comparator::kEqual},     {"!=", Comparator::kNotEqual}, {"<", Comparator::kLess},
      {"<=", Comparator::kLessEqual}, {">", Comparator::kGreater},   {">=", Comparator::kGreaterEqual}};
  const int line = tokens_.line();
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr first, parse_sum());
  std::vector<std::pair<Comparator, ExpressionPtr>> rest;
  int depth = depth_of(first);
  for (;;) {
    const auto* found = std::find_if(std::begin(kComparators), std::end(kComparators),
                                     [&](const auto& comparator) { return tokens_.is_operator(comparator.first); });
    Comparator comparator = Comparator::kIn;
    if (found != std::end(kComparators)) {
      tokens_.next();
      comparator = found->second;
    } else if (tokens_.is_name("not") && tokens_.next_is_name("in")) {
      tokens_.next();
      tokens_.next();
      comparator = Comparator::kNotIn;
    } else if (!tokens_.skip_name("in")) {
      break;
    }
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr term, parse_sum());
    depth = std::max(depth, depth_of(term));
    rest.emplace_back(comparator, std::move(term));
  }
  if (rest.empty()) return first;
  return make(line, depth, ComparisonExpression{std::move(first), std::move(rest)});
}

Result<ExpressionPtr> ExpressionParser::parse_sum() {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr left, parse_concat());
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const auto op = tokens_.is_operator("+") ? BinaryOperator::kAdd : BinaryOperator::kSubtract;
    const int line = tokens_.next().line;
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr right, parse_concat());
    const int depth = std::max(depth_of(left), depth_of(right));
    COHORT_ASSIGN_OR_RETURN(left, make(line, depth, BinaryExpression{op, std::move(left), std::move(right)}));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::parse_concat() {
  const int line = tokens_.line();
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr first, parse_product());
  if (!tokens_.is_operator("~")) return first;
  ConcatExpression concat;
  concat.parts.push_back(std::move(first));
  while (tokens_.skip_operator("~")) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr part, parse_product());
    concat.parts.push_back(std::move(part));
  }
  const int depth = max_depth(concat.parts);
  return make(line, depth, std::move(concat));
}

Result<ExpressionPtr> ExpressionParser::parse_product() {
  static constexpr std::pair<std::string_view, BinaryOperator> kOperators[] = {{"*", BinaryOperator::kMultiply},
                                                                               {"/", BinaryOperator::kDivide},
                                                                               {"//", BinaryOperator::kFloorDivide},
                                                                               {"%", BinaryOperator::kModulo}};
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr left, parse_power());
  for (;;) {
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](const auto& op) { return tokens_.is_operator(op.first); });
    if (found == std::end(kOperators)) return left;
    const int line = tokens_.next().line;
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr right, parse_power());
    const int depth = std::max(depth_of(left), depth_of(right));
    COHORT_ASSIGN_OR_RETURN(left,
                            make(line, depth, BinaryExpression{found->second, std::move(left), std::move(right)}));
  }
}

// Binds to the left, unlike Python's, as Jinja has it.
Result<ExpressionPtr> ExpressionParser::parse_power() {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr left, parse_unary());
  while (tokens_.is_operator("**")) {
    const int line = tokens_.next().line;
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr right, parse_unary());
    const int depth = std::max(depth_of(left), depth_of(right));
    BinaryExpression node{BinaryOperator::kPower, std::move(left), std::move(right)};
    COHORT_ASSIGN_OR_RETURN(left, make(line, depth, std::move(node)));
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::parse_signed(bool with_filters) {
  ExpressionPtr operand;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const auto op = tokens_.is_operator("-") ? UnaryOperator::kMinus : UnaryOperator::kPlus;
    const int line = tokens_.next().line;
    const Level level(nesting_);
    if (nesting_ > kMaxNesting) return line_error(line, "expressions nest too deep");
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr inner, parse_signed(false));
    const int depth = depth_of(inner);
    COHORT_ASSIGN_OR_RETURN(operand, make(line, depth, UnaryExpression{op, std::move(inner)}));
  } else {
    COHORT_ASSIGN_OR_RETURN(operand, parse_primary());
  }
  COHORT_ASSIGN_OR_RETURN(operand, parse_postfix(std::move(operand)));
  while (with_filters) {
    if (tokens_.is_operator("|")) {
      COHORT_ASSIGN_OR_RETURN(operand, parse_filters(std::move(operand)));
    } else if (tokens_.is_name("is")) {
      COHORT_ASSIGN_OR_RETURN(operand, parse_test(std::move(operand)));
    } else if (tokens_.is_operator("(")) {
      COHORT_ASSIGN_OR_RETURN(operand, parse_postfix(std::move(operand)));
    } else {
      break;
    }
  }
  return operand;
}

Result<ExpressionPtr> ExpressionParser::parse_primary() {
  const int line = tokens_.line();
  if (tokens_.is(Kind::kName)) {
    const std::string& name = tokens_.next().text;
    if (name == "true" || name == "True") return make_literal(line, true);
    if (name == "false" || name == "False") return make_literal(line, false);
    if (name == "none" || name == "None") return make_literal(line, None());
    return make(line, 0, NameExpression{name});
  }
  if (tokens_.is(Kind::kString)) return parse_string();
  if (tokens_.is(Kind::kInteger) || tokens_.is(Kind::kFloat)) return parse_number();
  if (tokens_.is_operator("(")) return parse_parentheses();
  if (tokens_.is_operator("[")) return parse_list();
  if (tokens_.is_operator("{")) return parse_dict();
  return tokens_.expected("an expression");
}

// Strings side by side are one.
Result<ExpressionPtr> ExpressionParser::parse_string() {
  const int line = tokens_.line();
  std::string text;
  while (tokens_.is(Kind::kString)) text += tokens_.next().text;
  return make_literal(line, Value::text(std::move(text)));
}

Result<ExpressionPtr> ExpressionParser::parse_number() {
  const Token& token = tokens_.next();
  if (token.kind == Kind::kFloat) return make_literal(token.line, std::strtod(token.text.c_str(), nullptr));
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0') {
    const char letter = static_cast<char>(digits[1] | 0x20);
    base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return line_error(token.line, "the integer " + token.text + " has more than 64 bits");
  }
  return make_literal(token.line, Int{number});
}

Result<ExpressionPtr> ExpressionParser::parse_parentheses() {
  const int line = tokens_.next().line;
  if (tokens_.skip_operator(")")) return make(line, 0, SequenceExpression{.is_tuple = true, .items = {}});
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr inner, parse_tuple());
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator(")"));
  return inner;
}

Result<ExpressionPtr> ExpressionParser::parse_list() {
  const int line = tokens_.next().line;
  SequenceExpression list{.is_tuple = false, .items = {}};
  while (!tokens_.is_operator("]")) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr item, parse_expression());
    list.items.push_back(std::move(item));
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator("]"));
  const int depth = max_depth(list.items);
  return make(line, depth, std::move(list));
}

Result<ExpressionPtr> ExpressionParser::parse_dict() {
  const int line = tokens_.next().line;
  DictExpression dict;
  int depth = 0;
  while (!tokens_.is_operator("}")) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr key, parse_expression());
    COHORT_RETURN_IF_ERROR(tokens_.expect_operator(":"));
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr value, parse_expression());
    depth = std::max({depth, depth_of(key), depth_of(value)});
    dict.entries.emplace_back(std::move(key), std::move(value));
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator("}"));
  return make(line, depth, std::move(dict));
}

Result<ExpressionPtr> ExpressionParser::parse_postfix(ExpressionPtr operand) {
  for (;;) {
    const int line = tokens_.line();
    const int depth = depth_of(operand);
    if (tokens_.skip_operator(".")) {
      if (tokens_.is(Kind::kInteger)) {
        COHORT_ASSIGN_OR_RETURN(ExpressionPtr index, parse_number());
        SubscriptExpression node{std::move(operand), std::move(index)};
        COHORT_ASSIGN_OR_RETURN(operand, make(line, depth, std::move(node)));
      } else {
        COHORT_ASSIGN_OR_RETURN(std::string name, tokens_.expect_name());
        AttributeExpression node{std::move(operand), std::move(name)};
        COHORT_ASSIGN_OR_RETURN(operand, make(line, depth, std::move(node)));
      }
    } else if (tokens_.skip_operator("[")) {
      COHORT_ASSIGN_OR_RETURN(operand, parse_subscript(std::move(operand)));
    } else if (tokens_.is_operator("(")) {
      COHORT_ASSIGN_OR_RETURN(ArgumentList arguments, parse_arguments());
      const int call_depth = std::max(depth, max_depth(arguments));
      CallExpression node{std::move(operand), std::move(arguments)};
      COHORT_ASSIGN_OR_RETURN(operand, make(line, call_depth, std::move(node)));
    } else {
      return operand;
    }
  }
}

// After the '['.
Result<ExpressionPtr> ExpressionParser::parse_subscript(ExpressionPtr object) {
  const int line = tokens_.line();
  ExpressionPtr parts[3];
  size_t num_colons = 0;
  while (!tokens_.is_operator("]")) {
    if (num_colons < 2 && tokens_.skip_operator(":")) {
      ++num_colons;
    } else if (parts[num_colons] == nullptr) {
      COHORT_ASSIGN_OR_RETURN(parts[num_colons], parse_expression());
    } else {
      return tokens_.expected("']'");
    }
  }
  tokens_.next();
  const int depth = std::max(depth_of(object), max_depth(parts));
  if (num_colons > 0) {
    return make(line, depth,
                SliceExpression{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
  }
  if (parts[0] == nullptr) return line_error(line, "expected an expression between '[' and ']'");
  return make(line, depth, SubscriptExpression{std::move(object), std::move(parts[0])});
}

Result<ArgumentList> ExpressionParser::parse_arguments() {
  ArgumentList arguments;
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator("("));
  while (!tokens_.is_operator(")")) {
    if (tokens_.is_operator("*") || tokens_.is_operator("**")) {
      return Status(unimplemented("line " + std::to_string(tokens_.line()) + ": * and ** in a call are not supported"));
    }
    const int line = tokens_.line();
    std::string name;
    if (tokens_.next_is_operator("=")) {
      COHORT_ASSIGN_OR_RETURN(name, tokens_.expect_name());
      tokens_.next();
    } else if (!arguments.named.empty()) {
      return line_error(line, "an argument without a name follows one with a name");
    }
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr value, parse_expression());
    if (name.empty()) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.named.emplace_back(std::move(name), std::move(value));
    }
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator(")"));
  return arguments;
}

Result<ExpressionPtr> ExpressionParser::parse_filters(ExpressionPtr operand) {
  while (tokens_.skip_operator("|")) {
    COHORT_ASSIGN_OR_RETURN(operand, parse_filter(std::move(operand)));
  }
  return operand;
}

Result<ExpressionPtr> ExpressionParser::parse_named_filters() {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr filter, parse_filter(nullptr));
  return parse_filters(std::move(filter));
}

Result<ExpressionPtr> ExpressionParser::parse_filter(ExpressionPtr operand) {
  const int line = tokens_.line();
  COHORT_ASSIGN_OR_RETURN(std::string name, tokens_.expect_name());
  ArgumentList arguments;
  if (tokens_.is_operator("(")) {
    COHORT_ASSIGN_OR_RETURN(arguments, parse_arguments());
  }
  const int depth = std::max(depth_of(operand), max_depth(arguments));
  const Builtin filter = find_filter(name);
  return make(line, depth, FilterExpression{std::move(operand), std::move(name), filter, std::move(arguments)});
}

Result<ExpressionPtr> ExpressionParser::parse_test(ExpressionPtr operand) {
  const int line = tokens_.next().line;
  const bool is_negated = tokens_.skip_name("not");
  COHORT_ASSIGN_OR_RETURN(std::string name, tokens_.expect_name());
  ArgumentList arguments;
  const bool begins_operand = tokens_.is(Kind::kName) || tokens_.is(Kind::kString) || tokens_.is(Kind::kInteger) ||
                              tokens_.is(Kind::kFloat) || tokens_.is_operator("[") || tokens_.is_operator("{");
  if (tokens_.is_operator("(")) {
    COHORT_ASSIGN_OR_RETURN(arguments, parse_arguments());
  } else if (tokens_.is_name("is")) {
    return tokens_.expected("one test");
  } else if (begins_operand && !tokens_.is_name("else") && !tokens_.is_name("or") && !tokens_.is_name("and")) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr argument, parse_operand());
    arguments.positional.push_back(std::move(argument));
  }
  const int depth = std::max(depth_of(operand), max_depth(arguments));
  const Builtin test = find_test(name);
  COHORT_ASSIGN_OR_RETURN(
      ExpressionPtr result,
      make(line, depth, TestExpression{std::move(operand), std::move(name), test, std::move(arguments)}));
  if (!is_negated) return result;
  return make(line, depth + 1, UnaryExpression{UnaryOperator::kNot, std::move(result)});
}

}  // namespace cohort::jinja
