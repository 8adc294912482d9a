// A parsed template: statements, and the expressions in them. Immutable once parsed, and shared by every render.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/jinja/value.h"

namespace cohort::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct ArgumentList {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct LiteralExpression {
  Value value;  // None, bool, number or text
};

struct NameExpression {
  std::string name;
};

struct SequenceExpression {
  bool is_tuple;
  std::vector<ExpressionPtr> items;
};

struct DictExpression {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};

enum class UnaryOperator { kNot, kMinus, kPlus };

struct UnaryExpression {
  UnaryOperator op;
  ExpressionPtr operand;
};

enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };

struct BinaryExpression {
  BinaryOperator op;
  ExpressionPtr left;
  ExpressionPtr right;
};

// a ~ b ~ c: as texts, one after the other.
struct ConcatExpression {
  std::vector<ExpressionPtr> parts;
};

struct LogicalExpression {
  bool is_and;
  ExpressionPtr left;
  ExpressionPtr right;
};

enum class Comparator { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

// first < b <= c, each term evaluated once, up to the first that does not hold.
struct ComparisonExpression {
  ExpressionPtr first;
  std::vector<std::pair<Comparator, ExpressionPtr>> rest;
};

struct ConditionalExpression {
  ExpressionPtr condition;
  ExpressionPtr value;
  ExpressionPtr otherwise;  // may be null: undefined
};

struct AttributeExpression {
  ExpressionPtr object;
  std::string name;
};

struct SubscriptExpression {
  ExpressionPtr object;
  ExpressionPtr index;
};

struct SliceExpression {
  ExpressionPtr object;
  ExpressionPtr start;  // each may be null
  ExpressionPtr stop;
  ExpressionPtr step;
};

struct CallExpression {
  ExpressionPtr callee;
  ArgumentList arguments;
};

struct FilterExpression {
  ExpressionPtr operand;  // null: the text of the block that is filtered
  std::string name;
  Builtin filter;  // null where there is none of that name, which is an error when it is used
  ArgumentList arguments;
};

struct TestExpression {
  ExpressionPtr operand;
  std::string name;
  Builtin test;  // null, as above
  ArgumentList arguments;
};

struct Expression {
  int line;
  int depth;  // expressions within each other; bounds recursion
  std::variant<LiteralExpression, NameExpression, SequenceExpression, DictExpression, UnaryExpression, BinaryExpression,
               ConcatExpression, LogicalExpression, ComparisonExpression, ConditionalExpression, AttributeExpression,
               SubscriptExpression, SliceExpression, CallExpression, FilterExpression, TestExpression>
      node;
};

struct Statement;
using Block = std::vector<Statement>;

// What a value is assigned to: a name, an attribute of a namespace, or several of these.
struct Target {
  std::string name;  // empty: `items`
  std::string attribute;
  std::vector<Target> items;
};

struct TextStatement {
  Value text;
};

struct OutputStatement {
  ExpressionPtr value;
};

struct IfStatement {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};

struct ForStatement {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;  // may be null
  Block body;
  Block otherwise;
};

struct SetStatement {
  Target target;
  ExpressionPtr value;
};

// Assigns the text of `body`, filtered.
struct SetBlockStatement {
  Target target;
  ExpressionPtr filter;  // may be null; a chain of filters whose innermost operand is null
  Block body;
};

struct FilterStatement {
  ExpressionPtr filter;
  Block body;
};

struct MacroParameter {
  std::string name;
  ExpressionPtr otherwise;  // may be null: undefined
};

struct MacroStatement {
  std::string name;
  std::vector<MacroParameter> parameters;
  Block body;
};

// {% call name(...) %} body {% endcall %}: the macro finds the body as its function `caller`.
struct CallStatement {
  ExpressionPtr call;
  MacroStatement caller;
};

struct WithStatement {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Block body;
};

// What Hugging Face transformers marks as text of the assistant; it renders as its body does.
struct GenerationStatement {
  Block body;
};

struct BreakStatement {};
struct ContinueStatement {};

struct Statement {
  int line;
  std::variant<TextStatement, OutputStatement, IfStatement, ForStatement, SetStatement, SetBlockStatement,
               FilterStatement, MacroStatement, CallStatement, WithStatement, GenerationStatement, BreakStatement,
               ContinueStatement>
      node;
};

}  // namespace cohort::jinja
