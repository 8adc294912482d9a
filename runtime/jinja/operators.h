// Python's operators on values.
#pragma once

#include "kernels/core/status.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/value.h"

namespace cohort::jinja {

// Errors: operands that Python refuses, division by zero, and integers beyond 128 bits.
Result<Value> apply_unary(UnaryOperator op, const Value& operand);
Result<Value> apply_binary(Budget& budget, BinaryOperator op, const Value& left, const Value& right);
Result<bool> compare(Budget& budget, Comparator comparator, const Value& left, const Value& right);

// a ~ b ~ c: the texts of all, one after the other, without marks of safe HTML.
Result<Value> concatenate(Budget& budget, const std::vector<Value>& parts);

// format % arguments, of the conversions s, r, d, i, u, f, x, X and %, with Python's flags, width and precision.
Result<Value> format_percent(Budget& budget, const Text& format, const Value& arguments);

}  // namespace cohort::jinja
