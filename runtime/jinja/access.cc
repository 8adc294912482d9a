// Attributes, items and slices.
#include <algorithm>
#include <cstdlib>

#include "runtime/jinja/builtins.h"
#include "runtime/jinja/charged_strings.h"
#include "runtime/jinja/strings.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort::jinja {
namespace {

std::string object_name(const Value& object) {
  if (object.is_none()) return "None";
  std::string name = "'";
  name += type_name(object);
  return name + " object'";
}

Value no_attribute(const Value& object, std::string_view name) {
  return Value::undefined(object_name(object) + " has no attribute '" + std::string(name) + "'");
}

Value no_element(const Value& object, const Value& key) {
  if (const Text* text = key.as_text()) return no_attribute(object, text->view());
  return Value::undefined(object_name(object) + " has no such element");
}

Result<Value> loop_attribute(const Value& object, const Loop& loop, std::string_view name) {
  const std::vector<Value>& items = loop.items->items;
  const size_t index = loop.index;
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(items.size() - index);
  if (name == "revindex0") return Value(items.size() - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == items.size());
  if (name == "length") return Value(items.size());
  if (name == "depth") return Value(1);  // counts recursive loops only
  if (name == "depth0") return Value(0);
  if (name == "previtem") return index > 0 ? items[index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < items.size() ? items[index + 1] : Value::undefined("there is no next item");
  return no_attribute(object, name);
}

// The method `name` bound to `object`; undefined when there is none.
Value find_bound_method(const Value& object, std::string_view name, bool& is_found) {
  bool is_unsafe = false;
  const Builtin method = find_method(object, name, is_unsafe);
  is_found = method != nullptr || is_unsafe;
  if (is_unsafe) {
    return Value::undefined("access to attribute '" + std::string(name) + "' of '" + std::string(type_name(object)) +
                            "' object is unsafe");
  }
  if (method == nullptr) return Value();
  auto callable = std::make_shared<Callable>();
  callable->builtin = method;
  callable->self = object;
  return CallablePtr(std::move(callable));
}

// Where Python's slice begins and how many items it has, for a length of `size`.
struct Range {
  Int start;
  Int step;
  size_t count;
};

Result<Range> resolve_slice(size_t size, const Value& start, const Value& stop, const Value& step) {
  for (const Value* part : {&start, &stop, &step}) {
    if (!part->is_none() && !as_int(*part)) {
      return part->is_undefined() ? undefined_error(*part) : invalid_argument("slice indices must be integers or None");
    }
  }
  // No text is so long that a larger step makes a difference.
  const Int by = std::clamp(step.is_none() ? Int{1} : *as_int(step), -(Int{1} << 64), Int{1} << 64);
  if (by == 0) return invalid_argument("slice step cannot be zero");
  const auto length = static_cast<Int>(size);
  const Int lowest = by < 0 ? -1 : 0;
  const Int highest = by < 0 ? length - 1 : length;
  const auto clamp = [&](const Value& part, Int otherwise) {
    if (part.is_none()) return otherwise;
    Int at = *as_int(part);
    if (at < 0) at = at < -length ? lowest : at + length;
    return std::clamp(at, lowest, highest);
  };
  const Int first = clamp(start, by < 0 ? highest : lowest);
  const Int end = clamp(stop, by < 0 ? lowest : highest);
  Int count = 0;
  if (by > 0 && end > first) count = (end - first - 1) / by + 1;
  if (by < 0 && end < first) count = (first - end - 1) / -by + 1;
  return Range{first, by, static_cast<size_t>(count)};
}

Text slice_text(const Text& text, const Range& range) {
  if (range.count == 0) return Text();
  if (range.step == 1) {
    const size_t begin = offset_of_char(text.view(), static_cast<size_t>(range.start));
    return text.slice(begin, begin + offset_of_char(text.view().substr(begin), range.count));
  }
  std::vector<size_t> offsets;
  for (size_t pos = 0; pos < text.size(); pos += utf8_length(text.view()[pos])) offsets.push_back(pos);
  Text out;
  Int at = range.start;
  for (size_t i = 0; i < range.count; ++i, at += range.step) {
    const size_t begin = offsets[static_cast<size_t>(at)];
    out.append(text, begin, begin + utf8_length(text.view()[begin]));
  }
  return out;
}

}  // namespace

Result<Value> get_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) return undefined_error(object);
  if (const Namespace* space = object.as_namespace()) {
    const auto found = space->attributes.find(name);
    return found == space->attributes.end() ? no_attribute(object, name) : found->second;
  }
  bool is_found = false;
  Value method = find_bound_method(object, name, is_found);
  if (is_found) return method;
  if (const Loop* loop = object.as_loop()) return loop_attribute(object, *loop, name);
  if (const Dict* dict = object.as_dict()) {
    if (const Value* value = dict->find(name)) return *value;
  }
  return no_attribute(object, name);
}

Result<Value> get_item(Budget& budget, const Value& object, const Value& key) {
  if (object.is_undefined()) return undefined_error(object);
  if (const Dict* dict = object.as_dict()) {
    COHORT_RETURN_IF_ERROR(budget.charge(dict->search_steps(key)));
    const Value* value = is_hashable(key) ? dict->find(key) : nullptr;
    if (value != nullptr) return *value;
  }
  if (const std::optional<Int> number = as_int(key)) {
    const Text* text = object.as_text();
    const Sequence* sequence = object.as_sequence();
    const bool is_indexed = text != nullptr || (sequence != nullptr && (sequence->kind == Sequence::Kind::kList ||
                                                                        sequence->kind == Sequence::Kind::kTuple ||
                                                                        sequence->kind == Sequence::Kind::kRange));
    if (!is_indexed) return no_element(object, key);
    if (text != nullptr) COHORT_RETURN_IF_ERROR(budget.charge_text(text->size()));
    const Int length = static_cast<Int>(text != nullptr ? count_chars(text->view()) : sequence->items.size());
    const Int at = *number < 0 ? *number + length : *number;
    if (at < 0 || at >= length) return no_element(object, key);
    if (sequence != nullptr) return sequence->items[static_cast<size_t>(at)];
    const size_t begin = offset_of_char(text->view(), static_cast<size_t>(at));
    return Value(text->slice(begin, begin + utf8_length(text->view()[begin])));
  }
  if (const Text* name = key.as_text()) {
    if (object.as_namespace() != nullptr || object.as_loop() != nullptr) return get_attribute(object, name->view());
    bool is_found = false;
    Value method = find_bound_method(object, name->view(), is_found);
    if (is_found) return method;
  }
  return no_element(object, key);
}

Result<Value> get_slice(Budget& budget, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) return undefined_error(object);
  const Text* text = object.as_text();
  const Sequence* sequence = object.as_sequence();
  const bool is_indexed = text != nullptr || (sequence != nullptr && (sequence->kind == Sequence::Kind::kList ||
                                                                      sequence->kind == Sequence::Kind::kTuple ||
                                                                      sequence->kind == Sequence::Kind::kRange));
  if (!is_indexed) return invalid_argument("an object of type '" + std::string(type_name(object)) + "' has no slices");
  COHORT_ASSIGN_OR_RETURN(const size_t size, length_of(object));
  COHORT_ASSIGN_OR_RETURN(const Range range, resolve_slice(size, start, stop, step));
  if (text != nullptr) {
    COHORT_RETURN_IF_ERROR(range.step == 1 ? budget.charge_text(text->size()) : budget.charge_items(text->size()));
    return Value(slice_text(*text, range));
  }
  COHORT_RETURN_IF_ERROR(budget.charge_items(range.count));
  std::vector<Value> items;
  items.reserve(range.count);
  Int at = range.start;
  for (size_t i = 0; i < range.count; ++i, at += range.step) items.push_back(sequence->items[static_cast<size_t>(at)]);
  return make_sequence(budget, sequence->kind, std::move(items));
}

Result<Value> get_path(Budget& budget, const Value& object, const Value& path) {
  const Text* text = path.as_text();
  if (text == nullptr) return get_item(budget, object, path);
  Value value = object;
  COHORT_ASSIGN_OR_RETURN(const std::vector<Value> parts, split(budget, *text, ".", -1));
  for (const Value& part : parts) {
    const std::string name(part.as_text()->view());
    const bool is_index = !name.empty() && name.size() < 10 && is_all(name, CharClass::kDigit);
    const Value key = is_index ? Value(std::atoi(name.c_str())) : part;
    COHORT_ASSIGN_OR_RETURN(value, get_item(budget, value, key));
  }
  return value;
}

}  // namespace cohort::jinja
