#include "runtime/jinja/evaluator.h"

#include <algorithm>
#include <string>

#include "runtime/jinja/show.h"

namespace cohort::jinja {

Value* Scope::find(std::string_view name) {
  const auto found =
      std::find_if(variables.begin(), variables.end(), [&](const auto& variable) { return variable.first == name; });
  return found == variables.end() ? nullptr : &found->second;
}

void Scope::set(std::string_view name, Value value) {
  if (Value* found = find(name)) {
    *found = std::move(value);
  } else {
    variables.emplace_back(name, std::move(value));
  }
}

namespace {

// An error with at most kMaxErrorBytes of text: names and messages may be as long as the data they are from.
constexpr size_t kMaxErrorBytes = 1000;

Status shortened(const Status& error) {
  if (error.message().size() <= kMaxErrorBytes) return error;
  size_t end = kMaxErrorBytes;
  while ((error.message()[end] & 0xC0) == 0x80) --end;  // not within a character
  return Status(error.code(), error.message().substr(0, end).append("..."));
}

}  // namespace

class Evaluator::ScopeGuard {
 public:
  ScopeGuard(Evaluator& evaluator, Scope* parent) : evaluator_(evaluator) { evaluator_.push_scope(parent); }
  explicit ScopeGuard(Evaluator& evaluator) : ScopeGuard(evaluator, evaluator.scopes_.back().get()) {}
  ~ScopeGuard() { evaluator_.pop_scope(); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Evaluator& evaluator_;
};

Evaluator::Evaluator(RenderState& state, const Variables& variables) : state_(state) {
  push_scope(nullptr);
  scopes_.back()->variables = variables;
}

void Evaluator::push_scope(Scope* parent) {
  scopes_.push_back(std::make_unique<Scope>());
  scopes_.back()->parent = parent;
}

void Evaluator::pop_scope() {
  if (scopes_.back()->is_captured) captured_.push_back(std::move(scopes_.back()));
  scopes_.pop_back();
}

Result<Text> Evaluator::run(const Block& block) {
  Text out;
  out_ = &out;
  const Result<Flow> flow = execute(block);  // kNext: the parser lets no break out of its loop
  if (!flow.ok()) return shortened(flow.status());
  return out;
}

Result<Evaluator::Flow> Evaluator::execute(const Block& block) {
  for (const Statement& statement : block) {
    COHORT_ASSIGN_OR_RETURN(const Flow flow, execute(statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const Statement& statement) {
  const RenderState::Level level(state_);
  COHORT_RETURN_IF_ERROR(level.check());
  Result<Flow> flow = std::visit([&](const auto& node) { return execute(node); }, statement.node);
  if (!flow.ok()) return state_.locate(flow.status(), statement.line);
  return flow;
}

Result<Evaluator::Flow> Evaluator::execute(const TextStatement& node) {
  COHORT_RETURN_IF_ERROR(append_str(budget(), node.text, *out_));
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const OutputStatement& node) {
  COHORT_ASSIGN_OR_RETURN(const Value value, evaluate(*node.value));
  COHORT_RETURN_IF_ERROR(append_str(budget(), value, *out_));
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const IfStatement& node) {
  for (const auto& [condition, body] : node.branches) {
    COHORT_ASSIGN_OR_RETURN(const Value value, evaluate(*condition));
    if (is_truthy(value)) return execute(body);
  }
  return execute(node.otherwise);
}

// The items that the loop goes over: those for which its condition holds.
Result<SequencePtr> Evaluator::filtered_items(const ForStatement& node) {
  COHORT_ASSIGN_OR_RETURN(const Value iterable, evaluate(*node.iterable));
  COHORT_ASSIGN_OR_RETURN(SequencePtr items, items_of(budget(), iterable));
  if (node.condition == nullptr) return items;
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    const ScopeGuard scope(*this);
    COHORT_RETURN_IF_ERROR(assign(node.target, item));
    COHORT_ASSIGN_OR_RETURN(const Value condition, evaluate(*node.condition));
    if (is_truthy(condition)) kept.push_back(item);
  }
  COHORT_ASSIGN_OR_RETURN(const Value list, make_list(budget(), std::move(kept)));
  return std::get<SequencePtr>(list.storage());
}

Result<Evaluator::Flow> Evaluator::execute(const ForStatement& node) {
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, filtered_items(node));
  if (items->items.empty()) {
    const ScopeGuard scope(*this);
    return execute(node.otherwise);
  }
  auto loop = std::make_shared<Loop>();
  loop->items = items;
  for (; loop->index < items->items.size(); ++loop->index) {
    const ScopeGuard scope(*this);
    scopes_.back()->set("loop", LoopPtr(loop));
    COHORT_RETURN_IF_ERROR(assign(node.target, items->items[loop->index]));
    COHORT_ASSIGN_OR_RETURN(const Flow flow, execute(node.body));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const SetStatement& node) {
  COHORT_ASSIGN_OR_RETURN(const Value value, evaluate(*node.value));
  COHORT_RETURN_IF_ERROR(assign(node.target, value));
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute_apart(const Block& block, Text& out) {
  const ScopeGuard scope(*this);
  Text* const outer = std::exchange(out_, &out);
  Result<Flow> flow = execute(block);
  out_ = outer;
  return flow;
}

Result<Evaluator::Flow> Evaluator::execute(const SetBlockStatement& node) {
  Text text;
  COHORT_ASSIGN_OR_RETURN(const Flow flow, execute_apart(node.body, text));
  if (flow != Flow::kNext) return flow;
  COHORT_ASSIGN_OR_RETURN(const Value value, apply_to_block(node.filter, std::move(text)));
  COHORT_RETURN_IF_ERROR(assign(node.target, value));
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const FilterStatement& node) {
  Text text;
  COHORT_ASSIGN_OR_RETURN(const Flow flow, execute_apart(node.body, text));
  if (flow != Flow::kNext) return flow;
  COHORT_ASSIGN_OR_RETURN(const Value value, apply_to_block(node.filter, std::move(text)));
  COHORT_RETURN_IF_ERROR(append_str(budget(), value, *out_));
  return Flow::kNext;
}

Result<Value> Evaluator::apply_to_block(const ExpressionPtr& filter, Text text) {
  const Value value(std::move(text));
  if (filter == nullptr) return value;
  const Value* const outer = std::exchange(block_text_, &value);
  Result<Value> filtered = evaluate(*filter);
  block_text_ = outer;
  return filtered;
}

Result<Value> Evaluator::make_macro(const MacroStatement& macro) {
  // The scope and its variables last until the render ends.
  constexpr int64_t kCapturingSteps = 32;
  COHORT_RETURN_IF_ERROR(budget().charge(kCapturingSteps));
  scopes_.back()->is_captured = true;
  auto callable = std::make_shared<Callable>();
  callable->macro = &macro;
  callable->scope = scopes_.back().get();
  return Value(CallablePtr(std::move(callable)));
}

Result<Evaluator::Flow> Evaluator::execute(const MacroStatement& node) {
  COHORT_ASSIGN_OR_RETURN(Value macro, make_macro(node));
  COHORT_RETURN_IF_ERROR(set(node.name, std::move(macro)));
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const CallStatement& node) {
  const auto& call_node = std::get<CallExpression>(node.call->node);
  COHORT_ASSIGN_OR_RETURN(const Value callee, evaluate(*call_node.callee));
  COHORT_ASSIGN_OR_RETURN(Arguments arguments, evaluate_arguments(call_node.arguments));
  COHORT_ASSIGN_OR_RETURN(Value caller, make_macro(node.caller));
  arguments.named.emplace_back("caller", std::move(caller));
  COHORT_ASSIGN_OR_RETURN(const Value value, call(callee, arguments));
  COHORT_RETURN_IF_ERROR(append_str(budget(), value, *out_));
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::execute(const WithStatement& node) {
  std::vector<Value> values;
  for (const auto& [target, expression] : node.variables) {
    COHORT_ASSIGN_OR_RETURN(Value value, evaluate(*expression));
    values.push_back(std::move(value));
  }
  const ScopeGuard scope(*this);
  for (size_t i = 0; i < values.size(); ++i) COHORT_RETURN_IF_ERROR(assign(node.variables[i].first, values[i]));
  return execute(node.body);
}

Result<Evaluator::Flow> Evaluator::execute(const GenerationStatement& node) {
  const ScopeGuard scope(*this);
  return execute(node.body);
}

Status Evaluator::set(std::string_view name, Value value) {
  Scope& scope = *scopes_.back();
  COHORT_RETURN_IF_ERROR(budget().charge(scope.search_steps()));
  scope.set(name, std::move(value));
  return ok_status();
}

Status Evaluator::assign(const Target& target, const Value& value) {
  if (target.items.empty()) {
    if (target.attribute.empty()) return set(target.name, value);
    Value* space_value = nullptr;
    for (Scope* scope = scopes_.back().get(); scope != nullptr && space_value == nullptr; scope = scope->parent) {
      COHORT_RETURN_IF_ERROR(budget().charge(scope->search_steps()));
      space_value = scope->find(target.name);
    }
    Namespace* space = space_value == nullptr ? nullptr : space_value->as_namespace();
    if (space == nullptr) {
      return invalid_argument("cannot assign attribute '" + target.attribute + "': '" + target.name +
                              "' is no namespace");
    }
    space->attributes.insert_or_assign(target.attribute, value);
    return ok_status();
  }
  COHORT_ASSIGN_OR_RETURN(const SequencePtr parts, items_of(budget(), value));
  if (parts->items.size() != target.items.size()) {
    return invalid_argument("expected " + std::to_string(target.items.size()) + " values to unpack, got " +
                            std::to_string(parts->items.size()));
  }
  for (size_t i = 0; i < target.items.size(); ++i) {
    COHORT_RETURN_IF_ERROR(assign(target.items[i], parts->items[i]));
  }
  return ok_status();
}

// Gives the parameters of a macro, in the innermost scope, their values. Defaults may use the parameters before them.
Status Evaluator::bind_parameters(const MacroStatement& macro, const Arguments& arguments) {
  const std::string prefix = "macro '" + macro.name + "': ";
  if (arguments.positional.size() > macro.parameters.size()) {
    return invalid_argument(prefix + "takes at most " + std::to_string(macro.parameters.size()) + " arguments");
  }
  size_t num_named = 0;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const MacroParameter& parameter = macro.parameters[i];
    COHORT_RETURN_IF_ERROR(budget().charge(static_cast<int64_t>(arguments.named.size() / 16)));
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == parameter.name; });
    const bool is_named = named != arguments.named.end();
    if (is_named) ++num_named;
    if (is_named && i < arguments.positional.size())
      return invalid_argument(prefix + "got '" + parameter.name + "' twice");
    Value value = Value::undefined("parameter '" + parameter.name + "' was not provided");
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (is_named) {
      value = named->second;
    } else if (parameter.otherwise != nullptr) {
      COHORT_ASSIGN_OR_RETURN(value, evaluate(*parameter.otherwise));
    }
    COHORT_RETURN_IF_ERROR(set(parameter.name, std::move(value)));
  }
  for (const auto& [name, value] : arguments.named) {
    if (name != "caller") continue;
    COHORT_RETURN_IF_ERROR(set(name, value));
    ++num_named;
  }
  if (num_named < arguments.named.size())
    return invalid_argument(prefix + "got an argument whose name it does not know");
  return ok_status();
}

Result<Value> Evaluator::call_macro(const Callable& callable, const Arguments& arguments) {
  const ScopeGuard scope(*this, callable.scope);
  COHORT_RETURN_IF_ERROR(bind_parameters(*callable.macro, arguments));
  Text text;
  Text* const outer = std::exchange(out_, &text);
  Result<Flow> flow = execute(callable.macro->body);
  out_ = outer;
  if (!flow.ok()) return flow.status();
  return Value(std::move(text));
}

}  // namespace cohort::jinja
