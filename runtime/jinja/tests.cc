// The tests of templates: what stands after `is`.
#include <algorithm>
#include <iterator>
#include <string>

#include "runtime/jinja/binding.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/operators.h"
#include "runtime/jinja/render_state.h"
#include "runtime/jinja/show.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

bool is_indexed(const Value& value) {
  if (value.is_undefined() || value.is_text() || value.is_dict()) return true;
  const Sequence* sequence = value.as_sequence();
  return sequence != nullptr && (sequence->kind == Sequence::Kind::kList || sequence->kind == Sequence::Kind::kTuple ||
                                 sequence->kind == Sequence::Kind::kRange);
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_dict() || value.as_sequence() != nullptr ||
         value.as_loop() != nullptr;
}

// Python's callable(): undefined values and `loop` have a __call__, too.
bool is_callable(const Value& value) {
  return value.as_callable() != nullptr || value.is_undefined() || value.as_loop() != nullptr;
}

// A test of the value alone.
template <bool (*kTest)(const Value&)>
Result<Value> plain(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "test", {}));
  return Value(kTest(call.self));
}

template <Comparator kComparator>
Result<Value> compares(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "test", {"other"}, 1));
  COHORT_ASSIGN_OR_RETURN(const bool holds, compare(call.state.budget(), kComparator, call.self, *arguments[0]));
  return Value(holds);
}

template <int kRest>
Result<Value> is_rest_of_two(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Value rest, apply_binary(call.state.budget(), BinaryOperator::kModulo, call.self, 2));
  return Value(is_number(rest) && as_double(rest) == kRest);
}

Result<Value> is_divisible_by(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "divisibleby", {"num"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Value rest,
                          apply_binary(call.state.budget(), BinaryOperator::kModulo, call.self, *arguments[0]));
  return Value(is_number(rest) && as_double(rest) == 0);
}

// Identity, which for plain values is equality of type and content.
Result<Value> is_same_as(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "sameas", {"other"}, 1));
  const Value& other = *arguments[0];
  if (call.self.storage().index() != other.storage().index()) return Value(false);
  if (call.self.as_sequence() != nullptr) return Value(call.self.as_sequence() == other.as_sequence());
  if (call.self.is_dict()) return Value(call.self.as_dict() == other.as_dict());
  COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(call.state.budget(), call.self, other));
  return Value(same);
}

template <CharClass kClass>
Result<Value> has_case(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, to_text(call.state.budget(), call.self));
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(text->size()));
  return Value(is_all(text->view(), kClass));
}

Result<Value> is_name_of(const Invocation& call, Builtin (*find)(std::string_view)) {
  const Text* name = call.self.as_text();
  return Value(name != nullptr && find(name->view()) != nullptr);
}

constexpr auto kTrue = [](const Value& value) { return value.is_bool() && is_truthy(value); };
constexpr auto kFalse = [](const Value& value) { return value.is_bool() && !is_truthy(value); };

struct Entry {
  std::string_view name;
  Builtin test;
};

constexpr Entry kTests[] = {
    {"!=", compares<Comparator::kNotEqual>},
    {"<", compares<Comparator::kLess>},
    {"<=", compares<Comparator::kLessEqual>},
    {"==", compares<Comparator::kEqual>},
    {">", compares<Comparator::kGreater>},
    {">=", compares<Comparator::kGreaterEqual>},
    {"boolean", plain<+[](const Value& value) { return value.is_bool(); }>},
    {"callable", plain<is_callable>},
    {"defined", plain<+[](const Value& value) { return !value.is_undefined(); }>},
    {"divisibleby", is_divisible_by},
    {"eq", compares<Comparator::kEqual>},
    {"equalto", compares<Comparator::kEqual>},
    {"escaped", plain<+[](const Value& value) { return value.is_text() && value.as_text()->is_markup(); }>},
    {"even", is_rest_of_two<0>},
    {"false", plain<+kFalse>},
    {"filter", [](const Invocation& call) { return is_name_of(call, find_filter); }},
    {"float", plain<+[](const Value& value) { return value.is_float(); }>},
    {"ge", compares<Comparator::kGreaterEqual>},
    {"greaterthan", compares<Comparator::kGreater>},
    {"gt", compares<Comparator::kGreater>},
    {"in", compares<Comparator::kIn>},
    {"integer", plain<+[](const Value& value) { return value.is_int(); }>},
    {"iterable", plain<is_iterable>},
    {"le", compares<Comparator::kLessEqual>},
    {"lessthan", compares<Comparator::kLess>},
    {"lower", has_case<CharClass::kLower>},
    {"lt", compares<Comparator::kLess>},
    {"mapping", plain<+[](const Value& value) { return value.is_dict(); }>},
    {"ne", compares<Comparator::kNotEqual>},
    {"none", plain<+[](const Value& value) { return value.is_none(); }>},
    {"number", plain<is_number>},
    {"odd", is_rest_of_two<1>},
    {"sameas", is_same_as},
    {"sequence", plain<is_indexed>},
    {"string", plain<+[](const Value& value) { return value.is_text(); }>},
    {"test", [](const Invocation& call) { return is_name_of(call, find_test); }},
    {"true", plain<+kTrue>},
    {"undefined", plain<+[](const Value& value) { return value.is_undefined(); }>},
    {"upper", has_case<CharClass::kUpper>},
};

}  // namespace

Builtin find_test(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const Entry& e) { return e.name == name; });
  return found == std::end(kTests) ? nullptr : found->test;
}

}  // namespace cohort::jinja
