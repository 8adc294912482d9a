// The expressions of a template; the statements are in evaluator.cc.
#include <string>

#include "runtime/jinja/builtins.h"
#include "runtime/jinja/evaluator.h"
#include "runtime/jinja/operators.h"

namespace cohort::jinja {
Result<Value> Evaluator::evaluate(const Expression& expression) {
  const RenderState::Level level(state_);
  COHORT_RETURN_IF_ERROR(level.check());
  Result<Value> value = std::visit([&](const auto& node) { return evaluate(node); }, expression.node);
  if (!value.ok()) return state_.locate(value.status(), expression.line);
  return value;
}

Result<Value> Evaluator::evaluate(const NameExpression& node) {
  for (Scope* scope = scopes_.back().get(); scope != nullptr; scope = scope->parent) {
    COHORT_RETURN_IF_ERROR(budget().charge(scope->search_steps()));
    if (const Value* value = scope->find(node.name)) return *value;
  }
  const Builtin function = find_function(node.name);
  if (function == nullptr) return Value::undefined("'" + node.name + "' is undefined");
  auto callable = std::make_shared<Callable>();
  callable->builtin = function;
  return Value(CallablePtr(std::move(callable)));
}

Result<Value> Evaluator::evaluate(const SequenceExpression& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExpressionPtr& expression : node.items) {
    COHORT_ASSIGN_OR_RETURN(Value item, evaluate(*expression));
    items.push_back(std::move(item));
  }
  return make_sequence(budget(), node.is_tuple ? Sequence::Kind::kTuple : Sequence::Kind::kList, std::move(items));
}

Result<Value> Evaluator::evaluate(const DictExpression& node) {
  Dict dict;
  for (const auto& [key_expression, value_expression] : node.entries) {
    COHORT_ASSIGN_OR_RETURN(Value key, evaluate(*key_expression));
    COHORT_ASSIGN_OR_RETURN(Value value, evaluate(*value_expression));
    if (!is_hashable(key)) return invalid_argument("unhashable type: '" + std::string(type_name(key)) + "'");
    COHORT_RETURN_IF_ERROR(budget().charge(dict.search_steps(key)));
    dict.set(std::move(key), std::move(value));
  }
  return make_dict(budget(), std::move(dict));
}

Result<Value> Evaluator::evaluate(const UnaryExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value operand, evaluate(*node.operand));
  return apply_unary(node.op, operand);
}

Result<Value> Evaluator::evaluate(const BinaryExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value left, evaluate(*node.left));
  COHORT_ASSIGN_OR_RETURN(const Value right, evaluate(*node.right));
  return apply_binary(budget(), node.op, left, right);
}

Result<Value> Evaluator::evaluate(const ConcatExpression& node) {
  std::vector<Value> parts;
  parts.reserve(node.parts.size());
  for (const ExpressionPtr& expression : node.parts) {
    COHORT_ASSIGN_OR_RETURN(Value part, evaluate(*expression));
    parts.push_back(std::move(part));
  }
  return concatenate(budget(), parts);
}

Result<Value> Evaluator::evaluate(const LogicalExpression& node) {
  COHORT_ASSIGN_OR_RETURN(Value left, evaluate(*node.left));
  if (is_truthy(left) != node.is_and) return left;
  return evaluate(*node.right);
}

Result<Value> Evaluator::evaluate(const ComparisonExpression& node) {
  COHORT_ASSIGN_OR_RETURN(Value left, evaluate(*node.first));
  for (const auto& [comparator, expression] : node.rest) {
    COHORT_ASSIGN_OR_RETURN(Value right, evaluate(*expression));
    COHORT_ASSIGN_OR_RETURN(const bool holds, compare(budget(), comparator, left, right));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Evaluator::evaluate(const ConditionalExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value condition, evaluate(*node.condition));
  if (is_truthy(condition)) return evaluate(*node.value);
  if (node.otherwise != nullptr) return evaluate(*node.otherwise);
  return Value::undefined("an inline if without else has no value where its condition does not hold");
}

Result<Value> Evaluator::evaluate(const AttributeExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value object, evaluate(*node.object));
  return get_attribute(object, node.name);
}

Result<Value> Evaluator::evaluate(const SubscriptExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value object, evaluate(*node.object));
  COHORT_ASSIGN_OR_RETURN(const Value index, evaluate(*node.index));
  return get_item(budget(), object, index);
}

Result<Value> Evaluator::evaluate_or_none(const ExpressionPtr& expression) {
  if (expression == nullptr) return Value(None());
  return evaluate(*expression);
}

Result<Value> Evaluator::evaluate(const SliceExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value object, evaluate(*node.object));
  COHORT_ASSIGN_OR_RETURN(const Value start, evaluate_or_none(node.start));
  COHORT_ASSIGN_OR_RETURN(const Value stop, evaluate_or_none(node.stop));
  COHORT_ASSIGN_OR_RETURN(const Value step, evaluate_or_none(node.step));
  return get_slice(budget(), object, start, stop, step);
}

Result<Arguments> Evaluator::evaluate_arguments(const ArgumentList& list) {
  Arguments arguments;
  arguments.positional.reserve(list.positional.size());
  for (const ExpressionPtr& expression : list.positional) {
    COHORT_ASSIGN_OR_RETURN(Value value, evaluate(*expression));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, expression] : list.named) {
    COHORT_ASSIGN_OR_RETURN(Value value, evaluate(*expression));
    arguments.named.emplace_back(name, std::move(value));
  }
  return arguments;
}

Result<Value> Evaluator::evaluate(const CallExpression& node) {
  COHORT_ASSIGN_OR_RETURN(const Value callee, evaluate(*node.callee));
  COHORT_ASSIGN_OR_RETURN(const Arguments arguments, evaluate_arguments(node.arguments));
  return call(callee, arguments);
}

Result<Value> Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) return undefined_error(callee);
  const Callable* callable = callee.as_callable();
  if (callable == nullptr) {
    return invalid_argument("an object of type '" + std::string(type_name(callee)) + "' cannot be called");
  }
  if (callable->macro != nullptr) return call_macro(*callable, arguments);
  return callable->builtin({state_, callable->self, arguments});
}

Result<Value> Evaluator::evaluate(const FilterExpression& node) {
  if (node.filter == nullptr) return invalid_argument("there is no filter named '" + node.name + "'");
  Value operand;
  if (node.operand == nullptr) {
    operand = *block_text_;
  } else {
    COHORT_ASSIGN_OR_RETURN(operand, evaluate(*node.operand));
  }
  COHORT_ASSIGN_OR_RETURN(const Arguments arguments, evaluate_arguments(node.arguments));
  return node.filter({state_, operand, arguments});
}

Result<Value> Evaluator::evaluate(const TestExpression& node) {
  if (node.test == nullptr) return invalid_argument("there is no test named '" + node.name + "'");
  COHORT_ASSIGN_OR_RETURN(const Value operand, evaluate(*node.operand));
  COHORT_ASSIGN_OR_RETURN(const Arguments arguments, evaluate_arguments(node.arguments));
  return node.test({state_, operand, arguments});
}

}  // namespace cohort::jinja
