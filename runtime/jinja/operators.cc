#include "runtime/jinja/operators.h"

#include <cmath>
#include <string>

#include "runtime/jinja/show.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

std::string_view symbol(BinaryOperator op) {
  switch (op) {
    case BinaryOperator::kAdd:
      return "+";
    case BinaryOperator::kSubtract:
      return "-";
    case BinaryOperator::kMultiply:
      return "*";
    case BinaryOperator::kDivide:
      return "/";
    case BinaryOperator::kFloorDivide:
      return "//";
    case BinaryOperator::kModulo:
      return "%";
    case BinaryOperator::kPower:
      return "**";
  }
  return "";
}

Status wrong_operands(BinaryOperator op, const Value& left, const Value& right) {
  if (left.is_undefined()) return undefined_error(left);
  if (right.is_undefined()) return undefined_error(right);
  return invalid_argument("unsupported operand types for " + std::string(symbol(op)) + ": '" +
                          std::string(type_name(left)) + "' and '" + std::string(type_name(right)) + "'");
}

Status overflow() { return invalid_argument("an integer has more than 128 bits"); }
Status division_by_zero() { return invalid_argument("division by zero"); }

double floor_mod(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest != 0) return (rest < 0) != (b < 0) ? rest + b : rest;
  return std::copysign(0.0, b);
}

double floor_divide(double a, double b) {
  double quotient = (a - floor_mod(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

Result<Value> power(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) return division_by_zero();
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value(exponent == 0 ? Int{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? Int{1} : base);
  Int result = 1;
  for (Int i = 0; i < exponent; ++i) {  // ends soon: |base| is at least 2
    if (__builtin_mul_overflow(result, base, &result)) return overflow();
  }
  return Value(result);
}

Result<Value> apply_to_ints(BinaryOperator op, Int a, Int b) {
  Int result = 0;
  switch (op) {
    case BinaryOperator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return overflow();
      return Value(result);
    case BinaryOperator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return overflow();
      return Value(result);
    case BinaryOperator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return overflow();
      return Value(result);
    case BinaryOperator::kDivide:
      if (b == 0) return division_by_zero();
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOperator::kFloorDivide:
    case BinaryOperator::kModulo: {
      if (b == 0) return division_by_zero();
      if (b == -1 && __builtin_sub_overflow(Int{0}, a, &result)) return overflow();
      const Int rest = b == -1 ? 0 : a % b;
      const bool rounds_down = rest != 0 && (rest < 0) != (b < 0);
      if (op == BinaryOperator::kModulo) return Value(rounds_down ? rest + b : rest);
      return Value(b == -1 ? result : a / b - (rounds_down ? 1 : 0));
    }
    case BinaryOperator::kPower:
      return power(a, b);
  }
  return overflow();
}

Result<Value> apply_to_floats(BinaryOperator op, double a, double b) {
  const bool divides =
      op == BinaryOperator::kDivide || op == BinaryOperator::kFloorDivide || op == BinaryOperator::kModulo;
  if (divides && b == 0) return division_by_zero();
  switch (op) {
    case BinaryOperator::kAdd:
      return Value(a + b);
    case BinaryOperator::kSubtract:
      return Value(a - b);
    case BinaryOperator::kMultiply:
      return Value(a * b);
    case BinaryOperator::kDivide:
      return Value(a / b);
    case BinaryOperator::kFloorDivide:
      return Value(floor_divide(a, b));
    case BinaryOperator::kModulo:
      return Value(floor_mod(a, b));
    case BinaryOperator::kPower:
      break;
  }
  if (a == 0 && b < 0) return division_by_zero();
  const double result = std::pow(a, b);
  if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) return unimplemented("complex numbers");
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) return invalid_argument("a result is out of range");
  return Value(result);
}

const Sequence* as_concatenable(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  if (sequence == nullptr) return nullptr;
  return sequence->kind == Sequence::Kind::kList || sequence->kind == Sequence::Kind::kTuple ? sequence : nullptr;
}

Result<Value> add_sequences(Budget& budget, const Sequence& a, const Sequence& b) {
  COHORT_RETURN_IF_ERROR(budget.charge_items(a.items.size() + b.items.size()));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return make_sequence(budget, a.kind, std::move(items));
}

// A text or a list, `count` times.
Result<Value> repeat(Budget& budget, const Value& value, Int count) {
  if (const Text* text = value.as_text()) {
    Text out;
    if (text->empty() || count <= 0) return Value(std::move(out));
    const size_t limit = budget.limits().max_text_bytes;
    if (count > static_cast<Int>(limit)) return budget.check_size(limit + 1);
    COHORT_RETURN_IF_ERROR(budget.charge_text(text->size() * static_cast<size_t>(count)));
    for (Int i = 0; i < count; ++i) out.append(*text);
    return Value(std::move(out));
  }
  const Sequence& sequence = *value.as_sequence();
  std::vector<Value> items;
  if (sequence.items.empty()) count = 0;
  for (Int i = 0; i < count; ++i) {
    COHORT_RETURN_IF_ERROR(budget.charge_items(sequence.items.size()));
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  }
  return make_sequence(budget, sequence.kind, std::move(items));
}

// One text marked as safe HTML makes the sum so, for which the other one is escaped.
Result<Value> add_texts(Budget& budget, const Text& a, const Text& b) {
  COHORT_RETURN_IF_ERROR(budget.charge_text(a.size() + b.size()));
  if (a.is_markup() == b.is_markup()) {
    Text sum = a;
    sum.append(b);
    return Value(std::move(sum));
  }
  Text sum = a.is_markup() ? a : escape_html(a);
  sum.append(b.is_markup() ? b : escape_html(b));
  return Value(std::move(sum));
}

}  // namespace

Result<Value> apply_unary(UnaryOperator op, const Value& operand) {
  if (op == UnaryOperator::kNot) return Value(!is_truthy(operand));
  if (operand.is_undefined()) return undefined_error(operand);
  if (!is_number(operand)) {
    return invalid_argument("bad operand type for unary " + std::string(op == UnaryOperator::kMinus ? "-" : "+") +
                            ": '" + std::string(type_name(operand)) + "'");
  }
  if (operand.is_float()) return Value(op == UnaryOperator::kMinus ? -as_double(operand) : as_double(operand));
  if (op == UnaryOperator::kPlus) return Value(*as_int(operand));
  return apply_to_ints(BinaryOperator::kSubtract, 0, *as_int(operand));
}

Result<Value> apply_binary(Budget& budget, BinaryOperator op, const Value& left, const Value& right) {
  if (is_number(left) && is_number(right)) {
    if (left.is_float() || right.is_float()) return apply_to_floats(op, as_double(left), as_double(right));
    return apply_to_ints(op, *as_int(left), *as_int(right));
  }
  if (op == BinaryOperator::kAdd) {
    if (left.is_text() && right.is_text()) return add_texts(budget, *left.as_text(), *right.as_text());
    const Sequence* a = as_concatenable(left);
    const Sequence* b = as_concatenable(right);
    if (a != nullptr && b != nullptr && a->kind == b->kind) return add_sequences(budget, *a, *b);
  }
  if (op == BinaryOperator::kMultiply) {
    const auto is_repeatable = [](const Value& value) { return value.is_text() || as_concatenable(value) != nullptr; };
    if (is_repeatable(left) && as_int(right)) return repeat(budget, left, *as_int(right));
    if (is_repeatable(right) && as_int(left)) return repeat(budget, right, *as_int(left));
  }
  if (op == BinaryOperator::kModulo && left.is_text()) return format_percent(budget, *left.as_text(), right);
  return wrong_operands(op, left, right);
}

Result<bool> compare(Budget& budget, Comparator comparator, const Value& left, const Value& right) {
  bool is_negated = false;
  Result<bool> result = false;
  switch (comparator) {
    case Comparator::kNotEqual:
      is_negated = true;
      [[fallthrough]];
    case Comparator::kEqual:
      result = is_equal(budget, left, right);
      break;
    case Comparator::kLess:
      return is_less(budget, left, right);
    case Comparator::kGreater:
      return is_less(budget, right, left);
    case Comparator::kLessEqual:
    case Comparator::kGreaterEqual: {
      // Not the negation of the other order: nothing holds of a NaN.
      const bool is_swapped = comparator == Comparator::kGreaterEqual;
      COHORT_ASSIGN_OR_RETURN(const bool less,
                              is_swapped ? is_less(budget, right, left) : is_less(budget, left, right));
      if (less) return true;
      result = is_equal(budget, left, right);
      break;
    }
    case Comparator::kNotIn:
      is_negated = true;
      [[fallthrough]];
    case Comparator::kIn:
      result = contains(budget, right, left);
      break;
  }
  if (result.ok() && is_negated) return !*result;
  return result;
}

Result<Value> concatenate(Budget& budget, const std::vector<Value>& parts) {
  Text whole;
  for (const Value& part : parts) COHORT_RETURN_IF_ERROR(append_str(budget, part, whole));
  return Value(std::move(whole));
}

}  // namespace cohort::jinja
