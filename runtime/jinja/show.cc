#include "runtime/jinja/show.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "runtime/jinja/strings.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort::jinja {
namespace {

void append_hex(std::string_view prefix, uint32_t number, int num_digits, std::string& out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out += prefix;
  for (int shift = 4 * (num_digits - 1); shift >= 0; shift -= 4) out += kDigits[(number >> shift) & 15];
}

void append_repr_char(char32_t c, char quote, std::string& out) {
  if (c == static_cast<char32_t>(quote) || c == '\\') {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (c >= 0x20 && c < 0x7F) {
    out += static_cast<char>(c);
  } else if (c < 0x100 && !is_python_printable(c)) {
    append_hex("\\x", c, 2, out);
  } else if (is_python_printable(c)) {
    append_utf8(c, out);
  } else if (c < 0x10000) {
    append_hex("\\u", c, 4, out);
  } else {
    append_hex("\\U", c, 8, out);
  }
}

void append_json_char(char32_t c, bool ensure_ascii, std::string& out) {
  static constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b";
  static constexpr std::string_view kLetters = "\"\\nrtfb";
  const size_t found = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
  if (found != std::string_view::npos) {
    out += '\\';
    out += kLetters[found];
  } else if (c < 0x20) {
    append_hex("\\u", c, 4, out);
  } else if (c < 0x7F || !ensure_ascii) {
    append_utf8(c, out);
  } else if (c < 0x10000) {
    append_hex("\\u", c, 4, out);
  } else {
    append_hex("\\u", 0xD800 + ((c - 0x10000) >> 10), 4, out);
    append_hex("\\u", 0xDC00 + ((c - 0x10000) & 0x3FF), 4, out);
  }
}

// Appends the characters of `text`, each as `append_char(c, out)` writes it.
template <typename AppendChar>
void append_mapped(const Text& text, Text& out, AppendChar append_char) {
  text.visit_runs(0, text.size(), [&](std::string_view bytes, bool is_data) {
    std::string piece;
    for (size_t pos = 0; pos < bytes.size();) append_char(next_char(bytes, pos), piece);
    out.append(piece, is_data);
  });
}

void append_text_repr(const Text& text, Text& out) {
  if (text.is_markup()) out.append("Markup(", false);
  const bool has_single = text.view().find('\'') != std::string_view::npos;
  const char quote = has_single && text.view().find('"') == std::string_view::npos ? '"' : '\'';
  out.append(std::string_view(&quote, 1), false);
  append_mapped(text, out, [&](char32_t c, std::string& piece) { append_repr_char(c, quote, piece); });
  out.append(std::string_view(&quote, 1), false);
  if (text.is_markup()) out.append(")", false);
}

Status append_items_repr(Budget& budget, const Sequence& sequence, Text& out) {
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) out.append(", ", false);
    COHORT_RETURN_IF_ERROR(append_repr(budget, sequence.items[i], out));
  }
  return ok_status();
}

Status append_sequence_repr(Budget& budget, const Value& value, Text& out) {
  const Sequence& sequence = *value.as_sequence();
  switch (sequence.kind) {
    case Sequence::Kind::kList:
      out.append("[", false);
      COHORT_RETURN_IF_ERROR(append_items_repr(budget, sequence, out));
      out.append("]", false);
      return ok_status();
    case Sequence::Kind::kTuple:
      out.append("(", false);
      COHORT_RETURN_IF_ERROR(append_items_repr(budget, sequence, out));
      out.append(sequence.items.size() == 1 ? ",)" : ")", false);
      return ok_status();
    case Sequence::Kind::kKeys:
    case Sequence::Kind::kValues:
    case Sequence::Kind::kItems:
      out.append(std::string(type_name(value)) + "([", false);
      COHORT_RETURN_IF_ERROR(append_items_repr(budget, sequence, out));
      out.append("])", false);
      return ok_status();
    case Sequence::Kind::kRange:
    case Sequence::Kind::kGenerator:
      break;
  }
  return invalid_argument("a " + std::string(type_name(value)) + " has no text; use |list");
}

Status append_dict_repr(Budget& budget, const Dict& dict, Text& out) {
  out.append("{", false);
  bool is_first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!is_first) out.append(", ", false);
    is_first = false;
    COHORT_RETURN_IF_ERROR(append_repr(budget, key, out));
    out.append(": ", false);
    COHORT_RETURN_IF_ERROR(append_repr(budget, value, out));
  }
  out.append("}", false);
  return ok_status();
}

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style, Text& out) : budget_(budget), style_(style), out_(out) {}

  Status append(const Value& value, int level);

 private:
  Status append_array(const std::vector<Value>& items, int level);
  Status append_object(const Dict& dict, int level);
  Status append_key(const Value& key);
  void append_string(const Text& text);
  Status append_break(int level);
  void put(std::string_view bytes) { out_.append(bytes, false); }

  Budget& budget_;
  const JsonStyle& style_;
  Text& out_;
};

void JsonWriter::append_string(const Text& text) {
  put("\"");
  append_mapped(text, out_, [&](char32_t c, std::string& piece) { append_json_char(c, style_.ensure_ascii, piece); });
  put("\"");
}

Status JsonWriter::append_break(int level) {
  if (!style_.indent) return ok_status();
  put("\n");
  COHORT_RETURN_IF_ERROR(budget_.check_size(out_.size() + style_.indent->size() * static_cast<size_t>(level)));
  for (int i = 0; i < level; ++i) put(*style_.indent);
  return ok_status();
}

Status JsonWriter::append_key(const Value& key) {
  if (const Text* text = key.as_text()) {
    append_string(*text);
    return ok_status();
  }
  if (key.as_sequence() != nullptr) return invalid_argument("a tuple is no key of a JSON object");
  put("\"");
  COHORT_RETURN_IF_ERROR(append(key, 0));
  put("\"");
  return ok_status();
}

Status JsonWriter::append_array(const std::vector<Value>& items, int level) {
  put("[");
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) put(style_.item_separator);
    COHORT_RETURN_IF_ERROR(append_break(level + 1));
    COHORT_RETURN_IF_ERROR(append(items[i], level + 1));
  }
  if (!items.empty()) COHORT_RETURN_IF_ERROR(append_break(level));
  put("]");
  return ok_status();
}

Status JsonWriter::append_object(const Dict& dict, int level) {
  std::vector<const Dict::Entry*> entries;
  for (const Dict::Entry& entry : dict.entries()) {
    if (style_.sort_keys && !entry.first.is_text()) return unimplemented("sort_keys of keys that are no strings");
    entries.push_back(&entry);
  }
  if (style_.sort_keys) {
    COHORT_RETURN_IF_ERROR(budget_.charge_items(8 * entries.size()));
    std::sort(entries.begin(), entries.end(), [](const Dict::Entry* a, const Dict::Entry* b) {
      return a->first.as_text()->view() < b->first.as_text()->view();
    });
  }
  put("{");
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) put(style_.item_separator);
    COHORT_RETURN_IF_ERROR(append_break(level + 1));
    COHORT_RETURN_IF_ERROR(append_key(entries[i]->first));
    put(style_.key_separator);
    COHORT_RETURN_IF_ERROR(append(entries[i]->second, level + 1));
  }
  if (!entries.empty()) COHORT_RETURN_IF_ERROR(append_break(level));
  put("}");
  return ok_status();
}

Status JsonWriter::append(const Value& value, int level) {
  COHORT_RETURN_IF_ERROR(budget_.charge(1 + level));
  if (const Text* text = value.as_text()) {
    COHORT_RETURN_IF_ERROR(budget_.charge_text(text->size()));
    append_string(*text);
  } else if (value.is_none()) {
    put("null");
  } else if (value.is_bool()) {
    put(is_truthy(value) ? "true" : "false");
  } else if (value.is_float() && !std::isfinite(as_double(value))) {
    put(std::isnan(as_double(value)) ? "NaN" : as_double(value) > 0 ? "Infinity" : "-Infinity");
  } else if (is_number(value)) {
    put(value.is_float() ? show_float(as_double(value)) : show_int(*as_int(value)));
  } else if (const Dict* dict = value.as_dict()) {
    return append_object(*dict, level);
  } else if (const Sequence* sequence = value.as_sequence();
             sequence != nullptr &&
             (sequence->kind == Sequence::Kind::kList || sequence->kind == Sequence::Kind::kTuple)) {
    return append_array(sequence->items, level);
  } else {
    return invalid_argument("an object of type '" + std::string(type_name(value)) + "' is not JSON serializable");
  }
  return budget_.check_size(out_.size());
}

}  // namespace

std::string show_int(Int number) {
  // The magnitude, as unsigned so that the least number has one.
  __extension__ using Unsigned = unsigned __int128;
  Unsigned rest = number < 0 ? ~static_cast<Unsigned>(number) + 1 : static_cast<Unsigned>(number);
  std::string digits;
  do digits += static_cast<char>('0' + static_cast<int>(rest % 10));
  while ((rest /= 10) != 0);
  if (number < 0) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string show_float(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), std::abs(number), std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));  // d.ddde+xx
  const size_t at = shortest.find('e');
  int exponent = std::atoi(std::string(shortest.substr(at + 1)).c_str());
  std::string digits(shortest.substr(0, at));
  std::erase(digits, '.');
  std::string out = std::signbit(number) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out.append(".").append(digits, 1);
    out += exponent < 0 ? "e-" : "e+";
    exponent = std::abs(exponent);
    return out + (exponent < 10 ? "0" : "") + std::to_string(exponent);
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto num_whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= num_whole) return out + digits + std::string(num_whole - digits.size(), '0') + ".0";
  return out.append(digits, 0, num_whole).append(".").append(digits, num_whole);
}

Status append_str(Budget& budget, const Value& value, Text& out) {
  if (const Text* text = value.as_text()) {
    COHORT_RETURN_IF_ERROR(budget.charge_text(text->size()));
    out.append(*text);
  } else if (!value.is_undefined()) {
    COHORT_RETURN_IF_ERROR(append_repr(budget, value, out));
  }
  return budget.check_size(out.size());
}

Result<TextPtr> to_text(Budget& budget, const Value& value) {
  if (value.is_text()) return value.shared_text();
  auto text = std::make_shared<Text>();
  COHORT_RETURN_IF_ERROR(append_str(budget, value, *text));
  return TextPtr(std::move(text));
}

Status append_repr(Budget& budget, const Value& value, Text& out) {
  COHORT_RETURN_IF_ERROR(budget.charge(1));
  COHORT_RETURN_IF_ERROR(budget.check_size(out.size()));
  if (const Text* text = value.as_text()) {
    COHORT_RETURN_IF_ERROR(budget.charge_text(text->size()));
    append_text_repr(*text, out);
  } else if (value.as_sequence() != nullptr) {
    return append_sequence_repr(budget, value, out);
  } else if (const Dict* dict = value.as_dict()) {
    return append_dict_repr(budget, *dict, out);
  } else if (value.is_undefined()) {
    out.append("Undefined", false);
  } else if (value.is_none()) {
    out.append("None", false);
  } else if (value.is_bool()) {
    out.append(is_truthy(value) ? "True" : "False", false);
  } else if (is_number(value)) {
    out.append(value.is_float() ? show_float(as_double(value)) : show_int(*as_int(value)), false);
  } else {
    return invalid_argument("a " + std::string(type_name(value)) + " has no text");
  }
  return ok_status();
}

Status append_json(Budget& budget, const Value& value, const JsonStyle& style, Text& out) {
  return JsonWriter(budget, style, out).append(value, 0);
}

}  // namespace cohort::jinja
