// Carries out the statements of a template.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/render_state.h"
#include "runtime/jinja/value.h"

namespace cohort::jinja {

// The names of one block of statements; names that are not here are looked for in `parent`.
struct Scope {
  Scope* parent = nullptr;
  bool is_captured = false;  // a macro refers to it
  std::vector<std::pair<std::string_view, Value>> variables;

  Value* find(std::string_view name);
  // What find() and set() cost, in steps, beyond the first.
  int64_t search_steps() const { return static_cast<int64_t>(variables.size() / 16); }
  void set(std::string_view name, Value value);
};

// For one render. `variables` and the statements must outlive it.
class Evaluator {
 public:
  using Variables = std::vector<std::pair<std::string_view, Value>>;

  Evaluator(RenderState& state, const Variables& variables);

  // The text that the statements make. An error names the line, unless it is a text that the
  // template raises itself.
  Result<Text> run(const Block& block);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Result<Flow> execute(const Block& block);
  Result<Flow> execute(const Statement& statement);
  Result<Flow> execute(const TextStatement& node);
  Result<Flow> execute(const OutputStatement& node);
  Result<Flow> execute(const IfStatement& node);
  Result<Flow> execute(const ForStatement& node);
  Result<Flow> execute(const SetStatement& node);
  Result<Flow> execute(const SetBlockStatement& node);
  Result<Flow> execute(const FilterStatement& node);
  Result<Flow> execute(const MacroStatement& node);
  Result<Flow> execute(const CallStatement& node);
  Result<Flow> execute(const WithStatement& node);
  Result<Flow> execute(const GenerationStatement& node);
  Result<Flow> execute(const BreakStatement&) { return Flow::kBreak; }
  Result<Flow> execute(const ContinueStatement&) { return Flow::kContinue; }

  // Executes a block within a new scope, with its output in `out`.
  Result<Flow> execute_apart(const Block& block, Text& out);
  Result<SequencePtr> filtered_items(const ForStatement& node);
  Status assign(const Target& target, const Value& value);
  // Sets a variable of the innermost scope.
  Status set(std::string_view name, Value value);

  Result<Value> evaluate(const Expression& expression);
  Result<Value> evaluate(const LiteralExpression& node) { return node.value; }
  Result<Value> evaluate(const NameExpression& node);
  Result<Value> evaluate(const SequenceExpression& node);
  Result<Value> evaluate(const DictExpression& node);
  Result<Value> evaluate(const UnaryExpression& node);
  Result<Value> evaluate(const BinaryExpression& node);
  Result<Value> evaluate(const ConcatExpression& node);
  Result<Value> evaluate(const LogicalExpression& node);
  Result<Value> evaluate(const ComparisonExpression& node);
  Result<Value> evaluate(const ConditionalExpression& node);
  Result<Value> evaluate(const AttributeExpression& node);
  Result<Value> evaluate(const SubscriptExpression& node);
  Result<Value> evaluate(const SliceExpression& node);
  Result<Value> evaluate(const CallExpression& node);
  Result<Value> evaluate(const FilterExpression& node);
  Result<Value> evaluate(const TestExpression& node);
  Result<Value> evaluate_or_none(const ExpressionPtr& expression);

  Result<Arguments> evaluate_arguments(const ArgumentList& list);

  // Applies a chain of filters to the text of a block.
  Result<Value> apply_to_block(const ExpressionPtr& filter, Text text);
  Result<Value> call(const Value& callee, const Arguments& arguments);
  Result<Value> call_macro(const Callable& callable, const Arguments& arguments);
  Status bind_parameters(const MacroStatement& macro, const Arguments& arguments);
  Result<Value> make_macro(const MacroStatement& macro);

  Budget& budget() { return state_.budget(); }
  void push_scope(Scope* parent);
  void pop_scope();

  // A new innermost scope for as long as it lives.
  class ScopeGuard;

  RenderState& state_;
  Text* out_ = nullptr;
  std::vector<std::unique_ptr<Scope>> scopes_;    // those in use, innermost last
  std::vector<std::unique_ptr<Scope>> captured_;  // those that are left and that a macro refers to
  const Value* block_text_ = nullptr;             // what the innermost filter of a block is applied to
};

}  // namespace cohort::jinja
