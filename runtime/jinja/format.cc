// Python's formatting of strings with %.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>

#include "runtime/jinja/operators.h"
#include "runtime/jinja/show.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

constexpr size_t kMaxWidth = 10'000;

struct Conversion {
  bool is_left = false;
  bool has_sign = false;
  bool has_space = false;
  bool has_zeros = false;
  size_t width = 0;
  std::optional<size_t> precision;
  char letter = 0;
};

std::string sign_of(bool is_negative, const Conversion& conversion) {
  return is_negative ? "-" : conversion.has_sign ? "+" : conversion.has_space ? " " : "";
}

std::string format_integer(Int number, const Conversion& conversion) {
  std::string digits;
  if (conversion.letter == 'x' || conversion.letter == 'X') {
    const bool is_upper = conversion.letter == 'X';
    __extension__ using Unsigned = unsigned __int128;
    auto rest = number < 0 ? ~static_cast<Unsigned>(number) + 1 : static_cast<Unsigned>(number);
    do digits += (is_upper ? "0123456789ABCDEF" : "0123456789abcdef")[static_cast<size_t>(rest % 16)];
    while ((rest /= 16) != 0);
    std::reverse(digits.begin(), digits.end());
  } else {
    digits = show_int(number);
    if (number < 0) digits.erase(0, 1);
  }
  if (conversion.precision && digits.size() < *conversion.precision) {
    digits = std::string(*conversion.precision - digits.size(), '0') + digits;
  }
  return sign_of(number < 0, conversion) + digits;
}

std::string format_float(double number, const Conversion& conversion) {
  const int precision = static_cast<int>(conversion.precision.value_or(6));
  std::string out(400 + static_cast<size_t>(precision), '\0');  // the largest double has 309 digits
  const char pattern[] = {'%', '.', '*', conversion.letter, '\0'};
  const int size = std::snprintf(out.data(), out.size(), pattern, precision, std::abs(number));  // NOLINT: built above
  out.resize(static_cast<size_t>(size));
  return sign_of(std::signbit(number), conversion) + out;
}

class PercentFormatter {
 public:
  PercentFormatter(Budget& budget, const Text& format, const Value& arguments)
      : budget_(budget), format_(format), arguments_(arguments) {}

  Result<Value> run();

 private:
  Result<Conversion> parse_conversion(size_t& pos);
  Result<Value> next_argument();
  Status append(const Conversion& conversion);
  void append_padded(const Text& text, const Conversion& conversion, bool is_number);

  Budget& budget_;
  const Text& format_;
  const Value& arguments_;
  std::optional<Value> named_argument_;  // of %(name)s
  bool uses_names_ = false;
  size_t num_taken_ = 0;
  Text out_;
};

// `pos` is after the '%'.
Result<Conversion> PercentFormatter::parse_conversion(size_t& pos) {
  const std::string_view format = format_.view();
  Conversion conversion;
  if (pos < format.size() && format[pos] == '(') {
    const size_t end = format.find(')', pos);
    const Dict* dict = arguments_.as_dict();
    if (end == std::string_view::npos) return invalid_argument("incomplete format key");
    if (dict == nullptr) return invalid_argument("format requires a mapping");
    const Value* value = dict->find(format.substr(pos + 1, end - pos - 1));
    if (value == nullptr) return invalid_argument("the mapping has no key that the format names");
    named_argument_ = *value;
    uses_names_ = true;
    pos = end + 1;
  }
  for (; pos < format.size(); ++pos) {
    if (format[pos] == '-')
      conversion.is_left = true;
    else if (format[pos] == '+')
      conversion.has_sign = true;
    else if (format[pos] == ' ')
      conversion.has_space = true;
    else if (format[pos] == '0')
      conversion.has_zeros = true;
    else
      break;
  }
  const auto read_number = [&](size_t& number) {
    for (; pos < format.size() && format[pos] >= '0' && format[pos] <= '9' && number <= kMaxWidth; ++pos) {
      number = number * 10 + static_cast<size_t>(format[pos] - '0');
    }
    return number <= kMaxWidth;
  };
  bool fits = read_number(conversion.width);
  if (pos < format.size() && format[pos] == '.') {
    ++pos;
    conversion.precision = 0;
    fits = read_number(*conversion.precision) && fits;
  }
  if (!fits) return invalid_argument("a width or precision of a format is too large");
  if (pos >= format.size()) return invalid_argument("incomplete format");
  conversion.letter = format[pos++];
  return conversion;
}

Result<Value> PercentFormatter::next_argument() {
  if (named_argument_) return *std::exchange(named_argument_, std::nullopt);
  const Sequence* tuple = arguments_.as_sequence();
  if (tuple == nullptr || tuple->kind != Sequence::Kind::kTuple) {
    if (num_taken_++ == 0) return arguments_;
  } else if (num_taken_ < tuple->items.size()) {
    return tuple->items[num_taken_++];
  }
  return invalid_argument("not enough arguments for the format string");
}

void PercentFormatter::append_padded(const Text& text, const Conversion& conversion, bool is_number) {
  const size_t length = count_chars(text.view());
  const size_t num_missing = conversion.width > length ? conversion.width - length : 0;
  if (conversion.is_left) {
    out_.append(text);
    out_.append(std::string(num_missing, ' '), false);
  } else if (is_number && conversion.has_zeros) {
    const bool has_sign = !text.empty() && (text.view()[0] == '-' || text.view()[0] == '+' || text.view()[0] == ' ');
    out_.append(text, 0, has_sign ? 1 : 0);
    out_.append(std::string(num_missing, '0'), false);
    out_.append(text, has_sign ? 1 : 0, text.size());
  } else {
    out_.append(std::string(num_missing, ' '), false);
    out_.append(text);
  }
}

Status PercentFormatter::append(const Conversion& conversion) {
  static constexpr std::string_view kFloatLetters = "fFeEgG";
  COHORT_ASSIGN_OR_RETURN(const Value value, next_argument());
  if (conversion.letter == 's' || conversion.letter == 'r') {
    Text text;
    COHORT_RETURN_IF_ERROR(conversion.letter == 's' ? append_str(budget_, value, text)
                                                    : append_repr(budget_, value, text));
    if (conversion.precision) text = text.slice(0, offset_of_char(text.view(), *conversion.precision));
    append_padded(text, conversion, false);
    return ok_status();
  }
  const bool is_float = kFloatLetters.find(conversion.letter) != std::string_view::npos;
  if (!is_float && std::string_view("diuxX").find(conversion.letter) == std::string_view::npos) {
    return invalid_argument("unsupported conversion '%" + std::string(1, conversion.letter) + "'");
  }
  if (value.is_undefined()) return undefined_error(value);
  if (!is_number(value)) return invalid_argument("a number is wanted for %" + std::string(1, conversion.letter));
  if (is_float) {
    append_padded(Text(format_float(as_double(value), conversion)), conversion, true);
    return ok_status();
  }
  Int number = 0;
  if (const std::optional<Int> integer = as_int(value)) {
    number = *integer;
  } else {
    const double truncated = as_double(value);
    const bool is_hex = conversion.letter == 'x' || conversion.letter == 'X';
    if (is_hex || !(truncated > -1e38 && truncated < 1e38))
      return invalid_argument("an integer is wanted for a format");
    number = static_cast<Int>(truncated);
  }
  append_padded(Text(format_integer(number, conversion)), conversion, true);
  return ok_status();
}

Result<Value> PercentFormatter::run() {
  const std::string_view format = format_.view();
  for (size_t pos = 0; pos < format.size();) {
    const size_t percent = std::min(format.find('%', pos), format.size());
    out_.append(format_, pos, percent);
    if (percent == format.size()) break;
    pos = percent + 1;
    COHORT_ASSIGN_OR_RETURN(const Conversion conversion, parse_conversion(pos));
    if (conversion.letter == '%') {
      out_.append("%", false);
    } else {
      COHORT_RETURN_IF_ERROR(append(conversion));
    }
    COHORT_RETURN_IF_ERROR(budget_.charge_text(conversion.width + conversion.precision.value_or(0)));
    COHORT_RETURN_IF_ERROR(budget_.check_size(out_.size()));
  }
  const Sequence* tuple = arguments_.as_sequence();
  const bool is_tuple = tuple != nullptr && tuple->kind == Sequence::Kind::kTuple;
  const bool is_left_over = is_tuple ? num_taken_ < tuple->items.size() : num_taken_ == 0 && !arguments_.is_dict();
  // "" % [] is an empty text, as of a mapping; an undefined value passes for one.
  const bool takes_list = (tuple != nullptr && !is_tuple) || arguments_.is_undefined();
  if (is_left_over && !uses_names_ && !takes_list) {
    return invalid_argument("not all arguments are converted by the format string");
  }
  return Value(std::move(out_));
}

}  // namespace

Result<Value> format_percent(Budget& budget, const Text& format, const Value& arguments) {
  COHORT_RETURN_IF_ERROR(budget.charge_text(format.size()));
  return PercentFormatter(budget, format, arguments).run();
}

}  // namespace cohort::jinja
