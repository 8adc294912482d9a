#include "runtime/jinja/parser.h"

#include <initializer_list>
#include <string>

#include "runtime/jinja/expression_parser.h"
#include "runtime/jinja/token_stream.h"

namespace cohort::jinja {
namespace {

using Kind = Token::Kind;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Result<Block> parse() {
    COHORT_ASSIGN_OR_RETURN(Block block, parse_block({}));
    return block;
  }

 private:
  // Statements up to a tag of one of these names, whose "{%" is consumed and whose name is not; up to the end of the
  // template without names.
  Result<Block> parse_block(std::initializer_list<std::string_view> ends);

  // The body of a tag: from its "%}" to the tag `end`, whose name is consumed.
  Result<Block> parse_body(std::string_view end);
  Result<Block> parse_body(std::initializer_list<std::string_view> ends);

  // What stands between "{%" and "%}", with the bodies that belong to it.
  Result<Statement> parse_statement();
  Result<Statement> parse_if(int line);
  Result<Statement> parse_for(int line);
  Result<Statement> parse_set(int line);
  Result<Statement> parse_macro(int line);
  Result<Statement> parse_call(int line);
  Result<Statement> parse_filter(int line);
  Result<Statement> parse_with(int line);
  Result<Statement> parse_generation(int line);
  Result<Statement> parse_loop_control(int line, bool is_break);

  Result<Target> parse_target(bool with_namespace);
  Result<Target> parse_one_target(bool with_namespace);
  Result<std::vector<MacroParameter>> parse_parameters();

  TokenStream tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int num_loops_ = 0;  // that a break may leave
};

Result<Block> Parser::parse_block(std::initializer_list<std::string_view> ends) {
  if (++nesting_ > kMaxNesting) return line_error(tokens_.line(), "statements nest too deep");
  Block block;
  while (!tokens_.is(Kind::kEnd)) {
    const int line = tokens_.line();
    if (tokens_.is(Kind::kData)) {
      block.push_back({line, TextStatement{Value::text(tokens_.next().text)}});
    } else if (tokens_.is(Kind::kVariableBegin)) {
      tokens_.next();
      COHORT_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.parse_tuple());
      COHORT_RETURN_IF_ERROR(tokens_.expect(Kind::kVariableEnd, "'}}'"));
      block.push_back({line, OutputStatement{std::move(value)}});
    } else {
      COHORT_RETURN_IF_ERROR(tokens_.expect(Kind::kBlockBegin, "'{%'"));
      for (const std::string_view end : ends) {
        if (tokens_.is_name(end)) {
          --nesting_;
          return block;
        }
      }
      COHORT_ASSIGN_OR_RETURN(Statement statement, parse_statement());
      COHORT_RETURN_IF_ERROR(tokens_.expect(Kind::kBlockEnd, "'%}'"));
      block.push_back(std::move(statement));
    }
  }
  if (ends.size() > 0) return tokens_.expected("'{% " + std::string(*(ends.end() - 1)) + " %}'");
  --nesting_;
  return block;
}

Result<Block> Parser::parse_body(std::initializer_list<std::string_view> ends) {
  tokens_.skip_operator(":");
  COHORT_RETURN_IF_ERROR(tokens_.expect(Kind::kBlockEnd, "'%}'"));
  return parse_block(ends);
}

Result<Block> Parser::parse_body(std::string_view end) {
  COHORT_ASSIGN_OR_RETURN(Block body, parse_body({end}));
  tokens_.next();
  return body;
}

Result<Statement> Parser::parse_statement() {
  const int line = tokens_.line();
  COHORT_ASSIGN_OR_RETURN(const std::string name, tokens_.expect_name());
  if (name == "if") return parse_if(line);
  if (name == "for") return parse_for(line);
  if (name == "set") return parse_set(line);
  if (name == "macro") return parse_macro(line);
  if (name == "call") return parse_call(line);
  if (name == "filter") return parse_filter(line);
  if (name == "with") return parse_with(line);
  if (name == "generation") return parse_generation(line);
  if (name == "break" || name == "continue") return parse_loop_control(line, name == "break");
  for (const std::string_view known :
       {"include", "import", "from", "extends", "block", "autoescape", "print", "do", "trans", "debug"}) {
    if (name == known) {
      return unimplemented("line " + std::to_string(line) + ": the statement '" + name + "' is not supported");
    }
  }
  return line_error(line, "'" + name + "' begins no statement");
}

Result<Statement> Parser::parse_if(int line) {
  IfStatement node;
  for (;;) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr condition, expressions_.parse_tuple(false));
    COHORT_ASSIGN_OR_RETURN(Block body, parse_body({"elif", "else", "endif"}));
    node.branches.emplace_back(std::move(condition), std::move(body));
    if (tokens_.skip_name("elif")) continue;
    if (tokens_.skip_name("else")) {
      COHORT_ASSIGN_OR_RETURN(node.otherwise, parse_body("endif"));
    } else {
      tokens_.next();
    }
    return Statement{line, std::move(node)};
  }
}

Result<Statement> Parser::parse_for(int line) {
  ForStatement node;
  COHORT_ASSIGN_OR_RETURN(node.target, parse_target(false));
  if (!tokens_.skip_name("in")) return tokens_.expected("'in'");
  COHORT_ASSIGN_OR_RETURN(node.iterable, expressions_.parse_tuple(false));
  if (tokens_.skip_name("if")) {
    COHORT_ASSIGN_OR_RETURN(node.condition, expressions_.parse_expression());
  }
  if (tokens_.is_name("recursive")) {
    return unimplemented("line " + std::to_string(line) + ": recursive loops are not supported");
  }
  ++num_loops_;
  COHORT_ASSIGN_OR_RETURN(node.body, parse_body({"else", "endfor"}));
  --num_loops_;
  if (tokens_.skip_name("else")) {
    COHORT_ASSIGN_OR_RETURN(node.otherwise, parse_body("endfor"));
  } else {
    tokens_.next();
  }
  return Statement{line, std::move(node)};
}

Result<Statement> Parser::parse_set(int line) {
  COHORT_ASSIGN_OR_RETURN(Target target, parse_target(true));
  if (tokens_.skip_operator("=")) {
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.parse_tuple());
    return Statement{line, SetStatement{std::move(target), std::move(value)}};
  }
  ExpressionPtr filter;
  if (tokens_.is_operator("|")) {
    COHORT_ASSIGN_OR_RETURN(filter, expressions_.parse_filters(nullptr));
  }
  COHORT_ASSIGN_OR_RETURN(Block body, parse_body("endset"));
  return Statement{line, SetBlockStatement{std::move(target), std::move(filter), std::move(body)}};
}

Result<std::vector<MacroParameter>> Parser::parse_parameters() {
  std::vector<MacroParameter> parameters;
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator("("));
  while (!tokens_.is_operator(")")) {
    MacroParameter parameter;
    COHORT_ASSIGN_OR_RETURN(parameter.name, tokens_.expect_name());
    if (tokens_.skip_operator("=")) {
      COHORT_ASSIGN_OR_RETURN(parameter.otherwise, expressions_.parse_expression());
    } else if (!parameters.empty() && parameters.back().otherwise != nullptr) {
      return tokens_.expected("'=' and a default value for '" + parameter.name + "', since the one before it has one");
    }
    parameters.push_back(std::move(parameter));
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_RETURN_IF_ERROR(tokens_.expect_operator(")"));
  return parameters;
}

Result<Statement> Parser::parse_macro(int line) {
  MacroStatement node;
  COHORT_ASSIGN_OR_RETURN(node.name, tokens_.expect_name());
  COHORT_ASSIGN_OR_RETURN(node.parameters, parse_parameters());
  const int num_outer_loops = std::exchange(num_loops_, 0);
  COHORT_ASSIGN_OR_RETURN(node.body, parse_body("endmacro"));
  num_loops_ = num_outer_loops;
  return Statement{line, std::move(node)};
}

Result<Statement> Parser::parse_call(int line) {
  CallStatement node;
  node.caller.name = "caller";
  if (tokens_.is_operator("(")) {
    COHORT_ASSIGN_OR_RETURN(node.caller.parameters, parse_parameters());
  }
  COHORT_ASSIGN_OR_RETURN(node.call, expressions_.parse_expression());
  if (!std::holds_alternative<CallExpression>(node.call->node)) return line_error(line, "expected a call");
  const int num_outer_loops = std::exchange(num_loops_, 0);
  COHORT_ASSIGN_OR_RETURN(node.caller.body, parse_body("endcall"));
  num_loops_ = num_outer_loops;
  return Statement{line, std::move(node)};
}

Result<Statement> Parser::parse_filter(int line) {
  COHORT_ASSIGN_OR_RETURN(ExpressionPtr filter, expressions_.parse_named_filters());
  COHORT_ASSIGN_OR_RETURN(Block body, parse_body("endfilter"));
  return Statement{line, FilterStatement{std::move(filter), std::move(body)}};
}

Result<Statement> Parser::parse_with(int line) {
  WithStatement node;
  while (!tokens_.is(Kind::kBlockEnd)) {
    if (!node.variables.empty()) COHORT_RETURN_IF_ERROR(tokens_.expect_operator(","));
    COHORT_ASSIGN_OR_RETURN(Target target, parse_one_target(false));
    COHORT_RETURN_IF_ERROR(tokens_.expect_operator("="));
    COHORT_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.parse_expression());
    node.variables.emplace_back(std::move(target), std::move(value));
  }
  COHORT_ASSIGN_OR_RETURN(node.body, parse_body("endwith"));
  return Statement{line, std::move(node)};
}

Result<Statement> Parser::parse_generation(int line) {
  COHORT_ASSIGN_OR_RETURN(Block body, parse_body("endgeneration"));
  return Statement{line, GenerationStatement{std::move(body)}};
}

Result<Statement> Parser::parse_loop_control(int line, bool is_break) {
  if (num_loops_ == 0) return line_error(line, is_break ? "'break' outside a loop" : "'continue' outside a loop");
  if (is_break) return Statement{line, BreakStatement()};
  return Statement{line, ContinueStatement()};
}

// One target, or several with commas.
Result<Target> Parser::parse_target(bool with_namespace) {
  COHORT_ASSIGN_OR_RETURN(Target first, parse_one_target(with_namespace));
  if (!tokens_.is_operator(",")) return first;
  Target targets;
  targets.items.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    if (!tokens_.is(Kind::kName) && !tokens_.is_operator("(")) break;
    if (tokens_.is_name("in")) break;
    COHORT_ASSIGN_OR_RETURN(Target next, parse_one_target(with_namespace));
    targets.items.push_back(std::move(next));
  }
  return targets;
}

Result<Target> Parser::parse_one_target(bool with_namespace) {
  Target target;
  if (tokens_.skip_operator("(")) {
    if (++nesting_ > kMaxNesting) return line_error(tokens_.line(), "targets nest too deep");
    COHORT_ASSIGN_OR_RETURN(target, parse_target(false));
    --nesting_;
    COHORT_RETURN_IF_ERROR(tokens_.expect_operator(")"));
    return target;
  }
  for (const std::string_view constant : {"true", "True", "false", "False", "none", "None"}) {
    if (tokens_.is_name(constant)) return tokens_.expected("a name to assign to");
  }
  COHORT_ASSIGN_OR_RETURN(target.name, tokens_.expect_name());
  if (with_namespace && tokens_.skip_operator(".")) {
    COHORT_ASSIGN_OR_RETURN(target.attribute, tokens_.expect_name());
  }
  return target;
}

}  // namespace

Result<Block> parse_template(std::string_view source) {
  COHORT_ASSIGN_OR_RETURN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).parse();
}

}  // namespace cohort::jinja
