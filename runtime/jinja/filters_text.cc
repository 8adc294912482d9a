// Filters of texts and numbers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>

#include "runtime/jinja/binding.h"
#include "runtime/jinja/charged_strings.h"
#include "runtime/jinja/filters.h"
#include "runtime/jinja/operators.h"
#include "runtime/jinja/render_state.h"
#include "runtime/jinja/show.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

// The filtered value as a text, as Jinja's soft_str() makes it; charges for reading it.
Result<TextPtr> self_text(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(TextPtr text, to_text(call.state.budget(), call.self));
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(text->size()));
  return text;
}

Result<Value> trim(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "trim", {"chars"}));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  if (arguments[0] == nullptr || arguments[0]->is_none()) return Value(strip(*text, Side::kBoth, std::nullopt));
  COHORT_ASSIGN_OR_RETURN(const TextPtr chars, arguments.text(0, ""));
  COHORT_RETURN_IF_ERROR(call.state.budget().charge(static_cast<int64_t>(chars->size() * text->size() / 16)));
  return Value(strip(*text, Side::kBoth, chars->view()));
}

template <Case kTarget>
Result<Value> change(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "case", {}));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  return Value(change_case(*text, kTarget));
}

Result<Value> title(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "title", {}));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  return Value(title_words(*text));
}

Result<Value> replace_text(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "replace", {"old", "new", "count"}, 2));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  COHORT_ASSIGN_OR_RETURN(const TextPtr from, to_text(budget, *arguments[0]));
  COHORT_ASSIGN_OR_RETURN(const TextPtr to, to_text(budget, *arguments[1]));
  const bool has_count = arguments[2] != nullptr && !arguments[2]->is_none();
  COHORT_ASSIGN_OR_RETURN(const Int count, has_count ? arguments.integer(2, -1) : Result<Int>(-1));
  return replace_charged(budget, *text, from->view(), *to, static_cast<int64_t>(std::clamp<Int>(count, -1, INT64_MAX)));
}

Result<Value> indent(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "indent", {"width", "first", "blank"}));
  Budget& budget = call.state.budget();
  if (!call.self.is_text()) return invalid_argument("indent(): expected a string");
  TextPtr indentation;
  if (arguments[0] != nullptr && arguments[0]->is_text()) {
    indentation = arguments[0]->shared_text();
  } else {
    COHORT_ASSIGN_OR_RETURN(const Int width, arguments.integer(0, 4));
    COHORT_ASSIGN_OR_RETURN(const Value blanks, align_charged(budget, Text(), width, Text(" "), Fill::kBefore));
    indentation = blanks.shared_text();
  }
  Text whole = *call.self.as_text();
  whole.append("\n", false);
  COHORT_ASSIGN_OR_RETURN(const std::vector<Value> lines, split_lines(budget, whole, false));
  Text out;
  if (arguments.truth(1, false)) out.append(*indentation);
  for (size_t i = 0; i < lines.size(); ++i) {
    const Text& line = *lines[i].as_text();
    COHORT_RETURN_IF_ERROR(budget.charge_text(line.size() + indentation->size()));
    if (i > 0) out.append("\n", false);
    if (i > 0 && (arguments.truth(2, false) || !line.empty())) out.append(*indentation);
    out.append(line);
    COHORT_RETURN_IF_ERROR(budget.check_size(out.size()));
  }
  return Value(std::move(out));
}

Result<Value> center(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "center", {"width"}));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  COHORT_ASSIGN_OR_RETURN(const Int width, arguments.integer(0, 80));
  return align_charged(call.state.budget(), *text, width, Text(" "), Fill::kAround);
}

Result<Value> string(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "string", {}));
  COHORT_ASSIGN_OR_RETURN(TextPtr text, self_text(call));
  return Value(std::move(text));
}

Result<Value> safe(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "safe", {}));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  Text marked = *text;
  marked.set_markup(true);
  return Value(std::move(marked));
}

Result<Value> escape_text(const Invocation& call, bool is_forced) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "escape", {}));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  if (text->is_markup() && !is_forced) return Value(text);
  return Value(escape_html(*text));
}

Result<Value> escape(const Invocation& call) { return escape_text(call, false); }
Result<Value> force_escape(const Invocation& call) { return escape_text(call, true); }

Result<Value> format(const Invocation& call) {
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, self_text(call));
  if (!call.arguments.positional.empty() && !call.arguments.named.empty()) {
    return invalid_argument("format(): takes values with names or without, not both");
  }
  if (call.arguments.named.empty()) {
    COHORT_ASSIGN_OR_RETURN(const Value tuple,
                            make_sequence(budget, Sequence::Kind::kTuple, call.arguments.positional));
    return format_percent(budget, *text, tuple);
  }
  Dict dict;
  for (const auto& [name, value] : call.arguments.named) dict.set(Value::text(std::string(name)), value);
  COHORT_ASSIGN_OR_RETURN(const Value mapping, make_dict(budget, std::move(dict)));
  return format_percent(budget, *text, mapping);
}

// As transformers has it: json.dumps() without escaping HTML and, unless asked for, without escaping Unicode.
Result<Value> to_json(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments,
                          Binding::make(call, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}));
  Budget& budget = call.state.budget();
  JsonStyle style;
  style.ensure_ascii = arguments.truth(0, false);
  style.sort_keys = arguments.truth(3, false);
  if (arguments[1] != nullptr && !arguments[1]->is_none()) {
    style.item_separator = ",";
    if (arguments[1]->is_text()) {
      style.indent = std::string(arguments[1]->as_text()->view());
    } else {
      COHORT_ASSIGN_OR_RETURN(const Int width, arguments.integer(1, 0));
      COHORT_RETURN_IF_ERROR(budget.check_size(static_cast<size_t>(std::clamp<Int>(width, 0, INT32_MAX))));
      style.indent = std::string(static_cast<size_t>(std::max<Int>(width, 0)), ' ');
    }
  }
  if (arguments[2] != nullptr && !arguments[2]->is_none()) {
    COHORT_ASSIGN_OR_RETURN(const SequencePtr pair, items_of(budget, *arguments[2]));
    if (pair->items.size() != 2 || !pair->items[0].is_text() || !pair->items[1].is_text()) {
      return invalid_argument("tojson(): separators: expected two strings");
    }
    style.item_separator = pair->items[0].as_text()->view();
    style.key_separator = pair->items[1].as_text()->view();
  }
  Text out;
  COHORT_RETURN_IF_ERROR(append_json(budget, call.self, style, out));
  COHORT_RETURN_IF_ERROR(budget.charge_text(out.size()));
  return Value(std::move(out));
}

// The digits of a number as Python's int() and float() read them: without white space around them and underscores
// between them. Nothing for what only C reads as a number.
std::optional<std::string> number_text(const Text& text, bool is_prefixed) {
  const Text stripped = strip(text, Side::kBoth, std::nullopt);
  std::string digits;
  char before = '_';
  for (const char c : stripped.view()) {
    const bool is_underscore = c == '_';
    if (is_underscore && before == '_') return std::nullopt;
    if ((c == 'x' || c == 'X' || c == '(') && !is_prefixed) return std::nullopt;
    if (!is_underscore) digits += c;
    before = c;
  }
  if (digits.empty() || before == '_') return std::nullopt;
  return digits;
}

std::optional<double> parse_float(const Text& text) {
  const std::optional<std::string> digits = number_text(text, false);
  if (!digits || digits->find('\0') != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double number = std::strtod(digits->c_str(), &end);
  if (*end != '\0') return std::nullopt;
  return number;
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

std::optional<Int> parse_int(const Text& text, int base) {
  const std::optional<std::string> digits = number_text(text, true);
  if (!digits) return std::nullopt;
  std::string_view rest = *digits;
  const bool is_negative = rest.starts_with('-');
  if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
  const char prefix = rest.size() > 2 && rest[0] == '0' ? static_cast<char>(rest[1] | 0x20) : '\0';
  const int prefix_base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
  if (prefix_base != 0 && (base == 0 || base == prefix_base)) {
    rest.remove_prefix(2);
    base = prefix_base;
  }
  if (base == 0) base = 10;
  if (rest.empty()) return std::nullopt;
  Int number = 0;
  for (const char c : rest) {
    if (digit_value(c) >= base) return std::nullopt;
    if (__builtin_mul_overflow(number, Int{base}, &number)) return std::nullopt;
    if (__builtin_add_overflow(number, Int{digit_value(c)}, &number)) return std::nullopt;
  }
  return is_negative ? -number : number;
}

std::optional<Int> truncate(double number) {
  if (!(number > -1e38 && number < 1e38)) return std::nullopt;
  return static_cast<Int>(number);
}

Result<Value> to_int(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "int", {"default", "base"}));
  COHORT_ASSIGN_OR_RETURN(const Int base, arguments.integer(1, 10));
  if (base != 0 && (base < 2 || base > 36)) return invalid_argument("int(): 'base': expected 0 or 2 to 36");
  const Value otherwise = arguments[0] == nullptr ? Value(0) : *arguments[0];
  if (call.self.is_undefined()) return undefined_error(call.self);
  if (const std::optional<Int> number = as_int(call.self)) return Value(*number);
  if (call.self.is_float()) {
    const std::optional<Int> number = truncate(as_double(call.self));
    return number ? Value(*number) : otherwise;
  }
  const Text* text = call.self.as_text();
  if (text == nullptr) return otherwise;
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(text->size()));
  if (const std::optional<Int> number = parse_int(*text, static_cast<int>(base))) return Value(*number);
  if (const std::optional<double> number = parse_float(*text)) {
    if (const std::optional<Int> whole = truncate(*number)) return Value(*whole);
  }
  return otherwise;
}

Result<Value> to_float(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "float", {"default"}));
  const Value otherwise = arguments[0] == nullptr ? Value(0.0) : *arguments[0];
  if (call.self.is_undefined()) return undefined_error(call.self);
  if (is_number(call.self)) return Value(as_double(call.self));
  const Text* text = call.self.as_text();
  if (text == nullptr) return otherwise;
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(text->size()));
  const std::optional<double> number = parse_float(*text);
  return number ? Value(*number) : otherwise;
}

Result<Value> absolute(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "abs", {}));
  if (!is_number(call.self)) return apply_unary(UnaryOperator::kMinus, call.self);
  if (call.self.is_float()) return Value(std::abs(as_double(call.self)));
  const Int number = *as_int(call.self);
  return number < 0 ? apply_unary(UnaryOperator::kMinus, call.self) : Result<Value>(Value(number));
}

Result<Value> round_number(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "round", {"precision", "method"}));
  COHORT_ASSIGN_OR_RETURN(const Int precision, arguments.integer(0, 0));
  COHORT_ASSIGN_OR_RETURN(const TextPtr method, arguments.text(1, "common"));
  if (call.self.is_undefined()) return undefined_error(call.self);
  if (!is_number(call.self)) return invalid_argument("round(): expected a number");
  if (precision < 0 || precision > 300) return unimplemented("round(): 'precision': expected 0 to 300");
  const double number = as_double(call.self);
  if (method->view() == "common") {
    if (!call.self.is_float()) return Value(*as_int(call.self));
    if (!std::isfinite(number)) return call.self;
    // The nearest decimal of the exact binary value, as Python's round() has it.
    char digits[800];
    std::snprintf(digits, sizeof(digits), "%.*f", static_cast<int>(precision), number);
    return Value(std::strtod(digits, nullptr));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method->view() == "ceil") return Value(std::ceil(number * scale) / scale);
  if (method->view() == "floor") return Value(std::floor(number * scale) / scale);
  return invalid_argument("round(): 'method': expected common, ceil or floor");
}

Result<Value> otherwise(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "default", {"default_value", "boolean"}));
  const bool is_missing = call.self.is_undefined() || (arguments.truth(1, false) && !is_truthy(call.self));
  if (!is_missing) return call.self;
  return arguments[0] == nullptr ? Value(Text()) : *arguments[0];
}

struct Entry {
  std::string_view name;
  Builtin filter;
};

constexpr Entry kFilters[] = {
    {"abs", absolute},
    {"capitalize", change<Case::kCapitalize>},
    {"center", center},
    {"d", otherwise},
    {"default", otherwise},
    {"e", escape},
    {"escape", escape},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"int", to_int},
    {"lower", change<Case::kLower>},
    {"replace", replace_text},
    {"round", round_number},
    {"safe", safe},
    {"string", string},
    {"title", title},
    {"tojson", to_json},
    {"trim", trim},
    {"upper", change<Case::kUpper>},
};

}  // namespace

Builtin find_text_filter(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFilters), std::end(kFilters), [&](const Entry& e) { return e.name == name; });
  return found == std::end(kFilters) ? nullptr : found->filter;
}

}  // namespace cohort::jinja
