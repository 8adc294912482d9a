#include "runtime/jinja/value.h"

#include <algorithm>

#include "runtime/jinja/strings.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort::jinja {
namespace {

// Below this many entries a dictionary is searched one by one.
constexpr size_t kMinIndexed = 12;

template <typename T>
const T* pointer_in(const Value::Storage& storage) {
  const auto* shared = std::get_if<std::shared_ptr<const T>>(&storage);
  return shared == nullptr ? nullptr : shared->get();
}

// Equality of keys, which nest no deeper than values do and are small.
bool is_same_key(const Value& a, const Value& b) {
  if (const Text* text = a.as_text()) return b.is_text() && text->view() == b.as_text()->view();
  if (is_number(a)) return is_number(b) && as_double(a) == as_double(b);
  if (a.is_none() || a.is_undefined()) return a.storage().index() == b.storage().index();
  const Sequence* x = a.as_sequence();
  const Sequence* y = b.as_sequence();
  return x != nullptr && y != nullptr &&
         std::equal(x->items.begin(), x->items.end(), y->items.begin(), y->items.end(), is_same_key);
}

bool is_set_like(Sequence::Kind kind) { return kind == Sequence::Kind::kKeys || kind == Sequence::Kind::kItems; }

Status no_order(const Value& a, const Value& b) {
  return invalid_argument("'<' is not supported between '" + std::string(type_name(a)) + "' and '" +
                          std::string(type_name(b)) + "'");
}

Result<bool> are_equal_sequences(Budget& budget, const Sequence& a, const Sequence& b) {
  if (&a == &b) return true;
  if (a.kind != b.kind || a.kind == Sequence::Kind::kGenerator || a.kind == Sequence::Kind::kValues) return false;
  if (is_set_like(a.kind)) return unimplemented("views of dictionaries cannot be compared; use |list");
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(budget, a.items[i], b.items[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> are_equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  if (&a == &b) return true;
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    COHORT_RETURN_IF_ERROR(budget.charge(b.search_steps(key)));
    const Value* other = b.find(key);
    if (other == nullptr) return false;
    COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(budget, value, *other));
    if (!same) return false;
  }
  return true;
}

}  // namespace

Value Value::undefined(std::string problem) {
  Value value;
  value.storage_ = Undefined{std::make_shared<const std::string>(std::move(problem))};
  return value;
}

const Text* Value::as_text() const { return pointer_in<Text>(storage_); }
const Sequence* Value::as_sequence() const { return pointer_in<Sequence>(storage_); }
const Dict* Value::as_dict() const { return pointer_in<Dict>(storage_); }
const Loop* Value::as_loop() const { return pointer_in<Loop>(storage_); }
const Callable* Value::as_callable() const { return pointer_in<Callable>(storage_); }

Namespace* Value::as_namespace() const {
  Namespace* const* space = std::get_if<Namespace*>(&storage_);
  return space == nullptr ? nullptr : *space;
}

const Value* Dict::find(std::string_view key) const {
  const size_t at = position(key);
  return at == entries_.size() ? nullptr : &entries_[at].second;
}

const Value* Dict::find(const Value& key) const {
  const size_t at = position(key);
  return at == entries_.size() ? nullptr : &entries_[at].second;
}

size_t Dict::position(std::string_view key) const {
  if (entries_.size() >= kMinIndexed) {
    const auto found = by_text_.find(key);
    return found == by_text_.end() ? entries_.size() : found->second;
  }
  const auto has_key = [&](const Entry& entry) {
    const Text* text = entry.first.as_text();
    return text != nullptr && text->view() == key;
  };
  return static_cast<size_t>(std::find_if(entries_.begin(), entries_.end(), has_key) - entries_.begin());
}

size_t Dict::position(const Value& key) const {
  if (const Text* text = key.as_text()) return position(text->view());
  const auto has_key = [&](const Entry& entry) { return is_same_key(entry.first, key); };
  return static_cast<size_t>(std::find_if(entries_.begin(), entries_.end(), has_key) - entries_.begin());
}

void Dict::set(Value key, Value value) {
  depth_ = std::max({depth_, value_depth(key) + 1, value_depth(value) + 1});
  const size_t at = position(key);
  if (at < entries_.size()) {
    entries_[at].second = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() < kMinIndexed) return;
  // The views stay valid: they are of texts that the entries share.
  const size_t first = entries_.size() == kMinIndexed ? 0 : at;
  for (size_t i = first; i < entries_.size(); ++i) {
    if (const Text* text = entries_[i].first.as_text()) by_text_.emplace(text->view(), i);
  }
}

int value_depth(const Value& value) {
  if (const Sequence* sequence = value.as_sequence()) return sequence->depth;
  if (const Dict* dict = value.as_dict()) return dict->depth();
  if (const Loop* loop = value.as_loop()) return loop->items->depth + 1;
  if (const Callable* callable = value.as_callable()) return value_depth(callable->self) + 1;
  return 0;
}

Result<Value> make_sequence(Budget& budget, Sequence::Kind kind, std::vector<Value> items) {
  COHORT_RETURN_IF_ERROR(budget.charge_items(items.size()));
  auto sequence = std::make_shared<Sequence>();
  sequence->kind = kind;
  for (const Value& item : items) sequence->depth = std::max(sequence->depth, value_depth(item) + 1);
  if (sequence->depth > kMaxValueDepth) return resource_exhausted("lists nest too deep");
  sequence->items = std::move(items);
  return Value(SequencePtr(std::move(sequence)));
}

Result<Value> make_list(Budget& budget, std::vector<Value> items) {
  return make_sequence(budget, Sequence::Kind::kList, std::move(items));
}

Result<Value> make_generator(Budget& budget, std::vector<Value> items, Status failure) {
  if (failure.code() == StatusCode::kResourceExhausted) return failure;
  COHORT_ASSIGN_OR_RETURN(const Value made, make_sequence(budget, Sequence::Kind::kGenerator, std::move(items)));
  if (failure.ok()) return made;
  auto failing = std::make_shared<Sequence>(*made.as_sequence());
  failing->failure = std::move(failure);
  return Value(SequencePtr(std::move(failing)));
}

Result<Value> make_dict(Budget& budget, Dict dict) {
  COHORT_RETURN_IF_ERROR(budget.charge_items(2 * dict.size()));
  if (dict.depth() > kMaxValueDepth) return resource_exhausted("dictionaries nest too deep");
  return Value(DictPtr(std::make_shared<const Dict>(std::move(dict))));
}

std::string_view type_name(const Value& value) {
  if (const Sequence* sequence = value.as_sequence()) {
    switch (sequence->kind) {
      case Sequence::Kind::kList:
        return "list";
      case Sequence::Kind::kTuple:
        return "tuple";
      case Sequence::Kind::kRange:
        return "range";
      case Sequence::Kind::kKeys:
        return "dict_keys";
      case Sequence::Kind::kValues:
        return "dict_values";
      case Sequence::Kind::kItems:
        return "dict_items";
      case Sequence::Kind::kGenerator:
        return "generator";
    }
  }
  constexpr std::string_view kNames[] = {"Undefined", "NoneType", "bool", "int",      "float",    "str",
                                         "",          "dict",     "loop", "function", "Namespace"};
  return kNames[value.storage().index()];
}

bool is_truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (is_number(value)) return as_double(value) != 0;
  if (const Text* text = value.as_text()) return !text->empty();
  if (const Dict* dict = value.as_dict()) return dict->size() > 0;
  const Sequence* sequence = value.as_sequence();
  return sequence == nullptr || sequence->kind == Sequence::Kind::kGenerator || !sequence->items.empty();
}

bool is_hashable(const Value& value) {
  if (const Sequence* sequence = value.as_sequence()) {
    const auto is_plain = [](const Value& item) { return item.is_none() || is_number(item) || item.is_text(); };
    return sequence->kind == Sequence::Kind::kTuple &&
           std::all_of(sequence->items.begin(), sequence->items.end(), is_plain);
  }
  return value.is_none() || value.is_undefined() || is_number(value) || value.is_text();
}

std::optional<Int> as_int(const Value& value) {
  if (const bool* truth = std::get_if<bool>(&value.storage())) return Int{*truth};
  if (const Int* number = std::get_if<Int>(&value.storage())) return *number;
  return std::nullopt;
}

bool is_number(const Value& value) { return value.is_bool() || value.is_int() || value.is_float(); }

double as_double(const Value& value) {
  if (const std::optional<Int> number = as_int(value)) return static_cast<double>(*number);
  return std::get<double>(value.storage());
}

Result<size_t> length_of(const Value& value) {
  if (value.is_undefined()) return size_t{0};
  if (const Text* text = value.as_text()) return count_chars(text->view());
  if (const Dict* dict = value.as_dict()) return dict->size();
  if (const Loop* loop = value.as_loop()) return loop->items->items.size();
  const Sequence* sequence = value.as_sequence();
  if (sequence != nullptr && sequence->kind != Sequence::Kind::kGenerator) return sequence->items.size();
  return invalid_argument("an object of type '" + std::string(type_name(value)) + "' has no length");
}

Result<SequencePtr> items_of(Budget& budget, const Value& value) {
  std::vector<Value> items;
  if (const Sequence* sequence = value.as_sequence()) {
    if (sequence->kind != Sequence::Kind::kGenerator) return std::get<SequencePtr>(value.storage());
    items.assign(sequence->items.begin() + static_cast<std::ptrdiff_t>(sequence->num_taken), sequence->items.end());
    sequence->num_taken = sequence->items.size();
    COHORT_RETURN_IF_ERROR(sequence->failure);
  } else if (const Dict* dict = value.as_dict()) {
    for (const Dict::Entry& entry : dict->entries()) items.push_back(entry.first);
  } else if (const Text* text = value.as_text()) {
    COHORT_RETURN_IF_ERROR(budget.charge_items(text->size()));
    for (size_t begin = 0; begin < text->size();) {
      const size_t end = begin + utf8_length(text->view()[begin]);
      items.emplace_back(text->slice(begin, end));
      begin = end;
    }
  } else if (!value.is_undefined()) {
    return invalid_argument("an object of type '" + std::string(type_name(value)) + "' is not iterable");
  }
  COHORT_ASSIGN_OR_RETURN(const Value list, make_list(budget, std::move(items)));
  return std::get<SequencePtr>(list.storage());
}

Result<bool> is_equal(Budget& budget, const Value& a, const Value& b) {
  COHORT_RETURN_IF_ERROR(budget.charge(1));
  if (const Text* text = a.as_text()) {
    if (!b.is_text()) return false;
    COHORT_RETURN_IF_ERROR(budget.charge_text(std::min(text->size(), b.as_text()->size())));
    return text->view() == b.as_text()->view();
  }
  if (a.is_float() || b.is_float()) return is_number(a) && is_number(b) && as_double(a) == as_double(b);
  if (is_number(a)) return is_number(b) && *as_int(a) == *as_int(b);
  if (a.storage().index() != b.storage().index()) return false;
  if (a.as_sequence() != nullptr) return are_equal_sequences(budget, *a.as_sequence(), *b.as_sequence());
  if (a.is_dict()) return are_equal_dicts(budget, *a.as_dict(), *b.as_dict());
  if (a.as_loop() != nullptr) return a.as_loop() == b.as_loop();
  if (a.as_callable() != nullptr) return a.as_callable() == b.as_callable();
  return a.as_namespace() == b.as_namespace();  // equal too for two undefined values, and two None
}

Result<bool> is_less(Budget& budget, const Value& a, const Value& b) {
  COHORT_RETURN_IF_ERROR(budget.charge(1));
  if (a.is_undefined() || b.is_undefined()) return undefined_error(a.is_undefined() ? a : b);
  if (is_number(a) && is_number(b)) {
    if (a.is_float() || b.is_float()) return as_double(a) < as_double(b);
    return *as_int(a) < *as_int(b);
  }
  if (a.is_text() && b.is_text()) {
    COHORT_RETURN_IF_ERROR(budget.charge_text(std::min(a.as_text()->size(), b.as_text()->size())));
    return a.as_text()->view() < b.as_text()->view();  // UTF-8 sorts as its characters do
  }
  const Sequence* x = a.as_sequence();
  const Sequence* y = b.as_sequence();
  const auto is_plain = [](const Sequence* s) {
    return s != nullptr && (s->kind == Sequence::Kind::kList || s->kind == Sequence::Kind::kTuple);
  };
  if (!is_plain(x) || !is_plain(y) || x->kind != y->kind) return no_order(a, b);
  for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
    COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(budget, x->items[i], y->items[i]));
    if (!same) return is_less(budget, x->items[i], y->items[i]);
  }
  return x->items.size() < y->items.size();
}

Result<bool> contains(Budget& budget, const Value& haystack, const Value& needle) {
  if (const Text* text = haystack.as_text()) {
    if (needle.is_undefined()) return undefined_error(needle);
    const Text* part = needle.as_text();
    if (part == nullptr) {
      return invalid_argument("'in <string>' wants a string on its left, not '" + std::string(type_name(needle)) + "'");
    }
    COHORT_RETURN_IF_ERROR(budget.charge_text(text->size()));
    return find_bytes(text->view(), part->view(), 0) != std::string_view::npos;
  }
  if (const Dict* dict = haystack.as_dict()) {
    if (!is_hashable(needle)) return invalid_argument("unhashable type: '" + std::string(type_name(needle)) + "'");
    COHORT_RETURN_IF_ERROR(budget.charge(1 + dict->search_steps(needle)));
    return dict->find(needle) != nullptr;
  }
  if (haystack.is_undefined()) return false;
  const Sequence* sequence = haystack.as_sequence();
  if (sequence == nullptr) {
    return invalid_argument("an object of type '" + std::string(type_name(haystack)) + "' is not iterable");
  }
  const bool is_generator = sequence->kind == Sequence::Kind::kGenerator;
  for (size_t i = is_generator ? sequence->num_taken : 0; i < sequence->items.size(); ++i) {
    if (is_generator) sequence->num_taken = i + 1;
    COHORT_ASSIGN_OR_RETURN(const bool same, is_equal(budget, sequence->items[i], needle));
    if (same) return true;
  }
  COHORT_RETURN_IF_ERROR(sequence->failure);
  return false;
}

Status undefined_error(const Value& value) {
  const auto& undefined = std::get<Undefined>(value.storage());
  return invalid_argument(undefined.problem == nullptr ? "a parameter was not given" : *undefined.problem);
}

}  // namespace cohort::jinja
