// The methods of strings, lists and dictionaries that read.
#include <algorithm>
#include <iterator>
#include <limits>
#include <string>

#include "runtime/jinja/binding.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/charged_strings.h"
#include "runtime/jinja/render_state.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

// Requires that the method belongs to strings, and charges for reading the string.
Result<const Text*> read_self(const Invocation& call) {
  const Text* text = call.self.as_text();
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(text->size()));
  return text;
}

// An integer that a count or a number of splits may be.
int64_t clamp_count(Int number) {
  constexpr Int kMost = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::clamp(number, Int{-1}, kMost));
}

template <Case kTarget>
Result<Value> change(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "str", {}));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  return Value(change_case(*text, kTarget));
}

template <CharClass kClass>
Result<Value> tell(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "str", {}));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  return Value(is_all(text->view(), kClass));
}

template <Side kSide>
Result<Value> strip_side(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "strip", {"chars"}));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  if (arguments[0] == nullptr || arguments[0]->is_none()) return Value(strip(*text, kSide, std::nullopt));
  COHORT_ASSIGN_OR_RETURN(const TextPtr chars, arguments.text(0, ""));
  // Each character that goes is looked for in all of `chars`.
  COHORT_RETURN_IF_ERROR(call.state.budget().charge(static_cast<int64_t>(chars->size() * text->size() / 16)));
  return Value(strip(*text, kSide, chars->view()));
}

template <bool kFromRight>
Result<Value> split_text(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "split", {"sep", "maxsplit"}));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const Int limit, arguments.integer(1, -1));
  const int64_t max_splits = clamp_count(limit);
  if (arguments[0] == nullptr || arguments[0]->is_none()) {
    COHORT_ASSIGN_OR_RETURN(std::vector<Value> words, kFromRight ? rsplit_at_space(budget, *text, max_splits)
                                                                 : split_at_space(budget, *text, max_splits));
    return make_list(budget, std::move(words));
  }
  COHORT_ASSIGN_OR_RETURN(const TextPtr separator, arguments.text(0, ""));
  if (separator->empty()) return invalid_argument("split(): empty separator");
  COHORT_ASSIGN_OR_RETURN(std::vector<Value> parts, kFromRight ? rsplit(budget, *text, separator->view(), max_splits)
                                                               : split(budget, *text, separator->view(), max_splits));
  return make_list(budget, std::move(parts));
}

Result<Value> split_text_lines(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "splitlines", {"keepends"}));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(std::vector<Value> lines, split_lines(call.state.budget(), *text, arguments.truth(0, false)));
  return make_list(call.state.budget(), std::move(lines));
}

template <bool kFromRight>
Result<Value> partition(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "partition", {"sep"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const TextPtr separator, arguments.text(0, ""));
  if (separator->empty()) return invalid_argument("partition(): empty separator");
  const size_t at =
      kFromRight ? rfind_bytes(text->view(), separator->view()) : find_bytes(text->view(), separator->view(), 0);
  std::vector<Value> parts(3, Value(Text()));
  if (at == std::string_view::npos) {
    parts[kFromRight ? 2 : 0] = call.self;
  } else {
    parts[0] = Value(text->slice(0, at));
    parts[1] = Value(text->slice(at, at + separator->size()));
    parts[2] = Value(text->slice(at + separator->size(), text->size()));
  }
  return make_sequence(call.state.budget(), Sequence::Kind::kTuple, std::move(parts));
}

// startswith and endswith: one text or a tuple of them.
template <bool kAtEnd>
Result<Value> begins_or_ends(const Invocation& call) {
  const char* name = kAtEnd ? "endswith" : "startswith";
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, name, {"affix", "start", "end"}, 1));
  if (arguments[1] != nullptr || arguments[2] != nullptr) {
    return unimplemented(std::string(name) + "(): start and end are not supported");
  }
  std::vector<Value> affixes = {*arguments[0]};
  const Sequence* tuple = arguments[0]->as_sequence();
  if (tuple != nullptr && tuple->kind == Sequence::Kind::kTuple) affixes = tuple->items;
  const std::string_view text = call.self.as_text()->view();
  for (const Value& affix : affixes) {
    if (affix.is_undefined()) return undefined_error(affix);
    if (!affix.is_text()) return invalid_argument(std::string(name) + "(): expected a string or a tuple of strings");
    COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(affix.as_text()->size()));
    const std::string_view part = affix.as_text()->view();
    if (kAtEnd ? text.ends_with(part) : text.starts_with(part)) return Value(true);
  }
  return Value(false);
}

template <bool kAtEnd>
Result<Value> remove_affix(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "remove", {"affix"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const TextPtr affix, arguments.text(0, ""));
  if (kAtEnd && text->view().ends_with(affix->view())) return Value(text->slice(0, text->size() - affix->size()));
  if (!kAtEnd && text->view().starts_with(affix->view())) return Value(text->slice(affix->size(), text->size()));
  return call.self;
}

Result<Value> replace_text(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "replace", {"old", "new", "count"}, 2));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const TextPtr from, arguments.text(0, ""));
  COHORT_ASSIGN_OR_RETURN(const TextPtr to, arguments.text(1, ""));
  COHORT_ASSIGN_OR_RETURN(const Int count, arguments.integer(2, -1));
  return replace_charged(call.state.budget(), *text, from->view(), *to, clamp_count(count));
}

// Where `part` is, in characters; -1 where it is not.
template <bool kFromRight, bool kMustBeThere>
Result<Value> find_text(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "find", {"sub", "start", "end"}, 1));
  if (arguments[2] != nullptr) return unimplemented("find(): end is not supported");
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const TextPtr part, arguments.text(0, ""));
  COHORT_ASSIGN_OR_RETURN(const Int start, arguments.integer(1, 0));
  const auto length = static_cast<Int>(count_chars(text->view()));
  const Int first = start < 0 ? std::max(start + length, Int{0}) : start;
  size_t at = std::string_view::npos;
  if (first <= length) {
    const size_t from = offset_of_char(text->view(), static_cast<size_t>(first));
    at = kFromRight ? rfind_bytes(text->view(), part->view()) : find_bytes(text->view(), part->view(), from);
    if (at != std::string_view::npos && at < from) at = std::string_view::npos;
  }
  if (at != std::string_view::npos) return Value(count_chars(text->view().substr(0, at)));
  if (kMustBeThere) return invalid_argument("index(): substring not found");
  return Value(-1);
}

Result<Value> count_text(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "count", {"sub"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const TextPtr part, arguments.text(0, ""));
  if (part->empty()) return Value(count_chars(text->view()) + 1);
  size_t count = 0;
  for (size_t at = 0; (at = find_bytes(text->view(), part->view(), at)) != std::string_view::npos; at += part->size()) {
    ++count;
  }
  return Value(count);
}

Result<Value> join_texts(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "join", {"iterable"}, 1));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, items_of(budget, *arguments[0]));
  Text out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const Text* item = items->items[i].as_text();
    if (item == nullptr) return invalid_argument("join(): expected strings");
    COHORT_RETURN_IF_ERROR(budget.charge_text(item->size() + call.self.as_text()->size()));
    if (i > 0) out.append(*call.self.as_text());
    out.append(*item);
    COHORT_RETURN_IF_ERROR(budget.check_size(out.size()));
  }
  return Value(std::move(out));
}

template <Fill kPlace>
Result<Value> align(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "just", {"width", "fillchar"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const Int width, arguments.integer(0, 0));
  COHORT_ASSIGN_OR_RETURN(const TextPtr fill, arguments.text(1, " "));
  if (count_chars(fill->view()) != 1) return invalid_argument("the fill must be one character");
  return align_charged(call.state.budget(), *text, width, *fill, kPlace);
}

Result<Value> fill_zeros(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "zfill", {"width"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Text* text, read_self(call));
  COHORT_ASSIGN_OR_RETURN(const Int width, arguments.integer(0, 0));
  const bool has_sign = text->view().starts_with('-') || text->view().starts_with('+');
  Text out = text->slice(0, has_sign ? 1 : 0);
  COHORT_ASSIGN_OR_RETURN(const Value rest,
                          align_charged(call.state.budget(), text->slice(has_sign ? 1 : 0, text->size()),
                                        width - (has_sign ? 1 : 0), Text("0"), Fill::kBefore));
  out.append(*rest.as_text());
  return Value(std::move(out));
}

// dict.items, dict.keys, dict.values.
template <Sequence::Kind kKind>
Result<Value> view_of_dict(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "dict", {}));
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.as_dict()->entries()) {
    if (kKind == Sequence::Kind::kItems) {
      COHORT_ASSIGN_OR_RETURN(Value pair, make_sequence(call.state.budget(), Sequence::Kind::kTuple, {key, value}));
      items.push_back(std::move(pair));
    } else {
      items.push_back(kKind == Sequence::Kind::kKeys ? key : value);
    }
  }
  return make_sequence(call.state.budget(), kKind, std::move(items));
}

Result<Value> get_of_dict(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "get", {"key", "default"}, 1));
  if (!is_hashable(*arguments[0])) {
    return invalid_argument("unhashable type: '" + std::string(type_name(*arguments[0])) + "'");
  }
  const Dict& dict = *call.self.as_dict();
  COHORT_RETURN_IF_ERROR(call.state.budget().charge(dict.search_steps(*arguments[0])));
  if (const Value* value = dict.find(*arguments[0])) return *value;
  return arguments[1] == nullptr ? Value(None()) : *arguments[1];
}

// Values cannot change, so that a copy is the thing itself.
Result<Value> copy(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "copy", {}));
  return call.self;
}

Result<Value> index_in_list(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "index", {"value"}, 1));
  const std::vector<Value>& items = call.self.as_sequence()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(call.state.budget(), items[i], *arguments[0]));
    if (same) return Value(i);
  }
  return invalid_argument("index(): the value is not in the list");
}

Result<Value> count_in_list(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "count", {"value"}, 1));
  size_t count = 0;
  for (const Value& item : call.self.as_sequence()->items) {
    COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(call.state.budget(), item, *arguments[0]));
    if (same) ++count;
  }
  return Value(count);
}

// loop.cycle("odd", "even").
Result<Value> cycle(const Invocation& call) {
  const std::vector<Value>& values = call.arguments.positional;
  if (values.empty()) return invalid_argument("cycle(): no items");
  return values[call.self.as_loop()->index % values.size()];
}

struct Entry {
  std::string_view name;
  Builtin method;
};

constexpr Entry kTextMethods[] = {
    {"capitalize", change<Case::kCapitalize>},
    {"center", align<Fill::kAround>},
    {"count", count_text},
    {"endswith", begins_or_ends<true>},
    {"find", find_text<false, false>},
    {"index", find_text<false, true>},
    {"isalnum", tell<CharClass::kAlnum>},
    {"isalpha", tell<CharClass::kAlpha>},
    {"isdecimal", tell<CharClass::kDigit>},
    {"isdigit", tell<CharClass::kDigit>},
    {"islower", tell<CharClass::kLower>},
    {"isspace", tell<CharClass::kSpace>},
    {"isupper", tell<CharClass::kUpper>},
    {"join", join_texts},
    {"ljust", align<Fill::kAfter>},
    {"lower", change<Case::kLower>},
    {"lstrip", strip_side<Side::kLeft>},
    {"partition", partition<false>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace_text},
    {"rfind", find_text<true, false>},
    {"rindex", find_text<true, true>},
    {"rjust", align<Fill::kBefore>},
    {"rpartition", partition<true>},
    {"rsplit", split_text<true>},
    {"rstrip", strip_side<Side::kRight>},
    {"split", split_text<false>},
    {"splitlines", split_text_lines},
    {"startswith", begins_or_ends<false>},
    {"strip", strip_side<Side::kBoth>},
    {"swapcase", change<Case::kSwap>},
    {"title", change<Case::kTitle>},
    {"upper", change<Case::kUpper>},
    {"zfill", fill_zeros},
};

constexpr Entry kDictMethods[] = {
    {"copy", copy},
    {"get", get_of_dict},
    {"items", view_of_dict<Sequence::Kind::kItems>},
    {"keys", view_of_dict<Sequence::Kind::kKeys>},
    {"values", view_of_dict<Sequence::Kind::kValues>},
};

constexpr Entry kListMethods[] = {{"copy", copy}, {"count", count_in_list}, {"index", index_in_list}};
constexpr Entry kLoopMethods[] = {{"cycle", cycle}};

constexpr std::string_view kUnsafeOfDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kUnsafeOfList[] = {"append", "clear",  "extend",  "insert",
                                              "pop",    "remove", "reverse", "sort"};

template <size_t kSize>
Builtin find_in(const Entry (&entries)[kSize], std::string_view name) {
  const auto* found =
      std::find_if(std::begin(entries), std::end(entries), [&](const Entry& entry) { return entry.name == name; });
  return found == std::end(entries) ? nullptr : found->method;
}

template <size_t kSize>
bool is_one_of(const std::string_view (&names)[kSize], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

Builtin find_method(const Value& object, std::string_view name, bool& is_unsafe) {
  is_unsafe = false;
  if (object.is_text()) return find_in(kTextMethods, name);
  if (object.is_dict()) {
    is_unsafe = is_one_of(kUnsafeOfDict, name);
    return find_in(kDictMethods, name);
  }
  if (object.as_loop() != nullptr) return find_in(kLoopMethods, name);
  const Sequence* sequence = object.as_sequence();
  if (sequence == nullptr) return nullptr;
  const bool is_list = sequence->kind == Sequence::Kind::kList;
  is_unsafe = is_list && is_one_of(kUnsafeOfList, name);
  return is_list || sequence->kind == Sequence::Kind::kTuple ? find_in(kListMethods, name) : nullptr;
}

}  // namespace cohort::jinja
