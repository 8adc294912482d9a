// Filters of lists and dictionaries.
#include <algorithm>
#include <iterator>
#include <optional>
#include <string>

#include "runtime/jinja/binding.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/filters.h"
#include "runtime/jinja/operators.h"
#include "runtime/jinja/render_state.h"
#include "runtime/jinja/show.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

using Kind = Sequence::Kind;

Result<SequencePtr> self_items(const Invocation& call) { return items_of(call.state.budget(), call.self); }

bool is_given(const Value* argument) { return argument != nullptr && !argument->is_none(); }

// What is compared: the item or what `attribute` names in it, in lower case unless case matters.
Result<Value> comparison_key(Budget& budget, const Value& item, const Value* attribute, bool case_matters) {
  Value key = item;
  if (is_given(attribute)) {
    COHORT_ASSIGN_OR_RETURN(key, get_path(budget, item, *attribute));
  }
  const Text* text = key.as_text();
  if (text == nullptr || case_matters) return key;
  COHORT_RETURN_IF_ERROR(budget.charge_text(text->size()));
  return Value(change_case(*text, Case::kLower));
}

Result<Value> length(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "length", {}));
  if (const Text* text = call.self.as_text()) COHORT_RETURN_IF_ERROR(call.state.budget().charge_text(text->size()));
  COHORT_ASSIGN_OR_RETURN(const size_t size, length_of(call.self));
  return Value(size);
}

Result<Value> list(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "list", {}));
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  return make_list(call.state.budget(), items->items);
}

Result<Value> first(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "first", {}));
  const Sequence* sequence = call.self.as_sequence();
  if (sequence != nullptr && sequence->kind == Kind::kGenerator) {
    if (sequence->num_taken < sequence->items.size()) return sequence->items[sequence->num_taken++];
    COHORT_RETURN_IF_ERROR(sequence->failure);
  } else if (const Text* text = call.self.as_text(); text != nullptr && !text->empty()) {
    return get_item(call.state.budget(), call.self, 0);
  } else {
    COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
    if (!items->items.empty()) return items->items.front();
  }
  return Value::undefined("there is no first item: the sequence is empty");
}

Result<Value> last(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "last", {}));
  const Sequence* sequence = call.self.as_sequence();
  if (sequence != nullptr && sequence->kind == Kind::kGenerator) {
    return invalid_argument("last(): a generator has no end; use |list");
  }
  if (const Text* text = call.self.as_text(); text != nullptr && !text->empty()) {
    return get_item(call.state.budget(), call.self, -1);
  }
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  if (!items->items.empty()) return items->items.back();
  return Value::undefined("there is no last item: the sequence is empty");
}

Result<Value> join(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "join", {"d", "attribute"}));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const TextPtr separator,
                          to_text(budget, arguments[0] == nullptr ? Value(Text()) : *arguments[0]));
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  Text out;
  bool is_first = true;
  for (const Value& item : items->items) {
    if (!is_first) {
      COHORT_RETURN_IF_ERROR(budget.charge_text(separator->size()));
      out.append(*separator);
    }
    is_first = false;
    COHORT_ASSIGN_OR_RETURN(const Value part,
                            is_given(arguments[1]) ? get_path(budget, item, *arguments[1]) : Result<Value>(item));
    COHORT_RETURN_IF_ERROR(append_str(budget, part, out));
  }
  return Value(std::move(out));
}

Result<Value> items_of_dict(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "items", {}));
  std::vector<Value> pairs;
  const Dict* dict = call.self.as_dict();
  if (dict == nullptr && !call.self.is_undefined()) {
    return make_generator(call.state.budget(), {}, invalid_argument("items(): expected a mapping"));
  }
  for (size_t i = 0; dict != nullptr && i < dict->size(); ++i) {
    const auto& [key, value] = dict->entries()[i];
    COHORT_ASSIGN_OR_RETURN(Value pair, make_sequence(call.state.budget(), Kind::kTuple, {key, value}));
    pairs.push_back(std::move(pair));
  }
  return make_generator(call.state.budget(), std::move(pairs));
}

Result<Value> reverse(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "reverse", {}));
  if (call.self.is_text()) return get_slice(call.state.budget(), call.self, None(), None(), -1);
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  std::vector<Value> reversed(items->items.rbegin(), items->items.rend());
  return make_generator(call.state.budget(), std::move(reversed));
}

// Sorts `items` by `keys`, which stand in the same order, keeping the order of equal ones.
Status sort_by_keys(Budget& budget, const std::vector<Value>& keys, bool is_reverse, std::vector<Value>& items) {
  // Merging, bottom up, since a comparison can fail.
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::vector<size_t> merged(order.size());
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t begin = 0; begin < order.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, order.size());
      const size_t end = std::min(begin + 2 * width, order.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool takes_right = left == middle;
        if (!takes_right && right < end) {
          const Value& a = keys[order[is_reverse ? left : right]];
          const Value& b = keys[order[is_reverse ? right : left]];
          COHORT_ASSIGN_OR_RETURN(takes_right, is_less(budget, a, b));
        }
        merged[out] = order[takes_right ? right++ : left++];
      }
    }
    order.swap(merged);
  }
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t index : order) sorted.push_back(std::move(items[index]));
  items = std::move(sorted);
  return ok_status();
}

Result<Value> sort(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments,
                          Binding::make(call, "sort", {"reverse", "case_sensitive", "attribute"}));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  if (is_given(arguments[2]) && arguments[2]->is_text() &&
      arguments[2]->as_text()->view().find(',') != std::string_view::npos) {
    return unimplemented("sort(): several attributes are not supported");
  }
  COHORT_RETURN_IF_ERROR(budget.charge_items(items->items.size()));
  std::vector<Value> keys;
  for (const Value& item : items->items) {
    COHORT_ASSIGN_OR_RETURN(Value key, comparison_key(budget, item, arguments[2], arguments.truth(1, false)));
    keys.push_back(std::move(key));
  }
  std::vector<Value> sorted = items->items;
  COHORT_RETURN_IF_ERROR(sort_by_keys(budget, keys, arguments.truth(0, false), sorted));
  return make_list(budget, std::move(sorted));
}

Result<Value> dictsort(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments,
                          Binding::make(call, "dictsort", {"case_sensitive", "by", "reverse"}));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const TextPtr by, arguments.text(1, "key"));
  if (by->view() != "key" && by->view() != "value") return invalid_argument("dictsort(): 'by': expected key or value");
  if (call.self.is_undefined()) return undefined_error(call.self);
  if (!call.self.is_dict()) return invalid_argument("dictsort(): expected a mapping");
  std::vector<Value> keys;
  std::vector<Value> pairs;
  for (const auto& [key, value] : call.self.as_dict()->entries()) {
    COHORT_ASSIGN_OR_RETURN(Value pair, make_sequence(budget, Kind::kTuple, {key, value}));
    pairs.push_back(std::move(pair));
    const Value& compared = by->view() == "key" ? key : value;
    COHORT_ASSIGN_OR_RETURN(Value folded, comparison_key(budget, compared, nullptr, arguments.truth(0, false)));
    keys.push_back(std::move(folded));
  }
  COHORT_RETURN_IF_ERROR(sort_by_keys(budget, keys, arguments.truth(2, false), pairs));
  return make_list(budget, std::move(pairs));
}

// Adds to `kept` the items of which the key is new.
Status keep_unique(Budget& budget, const Value& iterable, const Value* attribute, bool case_matters,
                   std::vector<Value>& kept) {
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, items_of(budget, iterable));
  Dict seen;
  for (const Value& item : items->items) {
    COHORT_ASSIGN_OR_RETURN(Value key, comparison_key(budget, item, attribute, case_matters));
    if (!is_hashable(key)) return invalid_argument("unhashable type: '" + std::string(type_name(key)) + "'");
    COHORT_RETURN_IF_ERROR(budget.charge(1 + seen.search_steps(key)));
    if (seen.find(key) != nullptr) continue;
    seen.set(std::move(key), None());
    kept.push_back(item);
  }
  return ok_status();
}

Result<Value> unique(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "unique", {"case_sensitive", "attribute"}));
  std::vector<Value> kept;
  Status status = keep_unique(call.state.budget(), call.self, arguments[1], arguments.truth(0, false), kept);
  return make_generator(call.state.budget(), std::move(kept), std::move(status));
}

template <bool kWantsMost>
Result<Value> extreme(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "min", {"case_sensitive", "attribute"}));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  if (items->items.empty()) return Value::undefined("there is no such item: the sequence is empty");
  Value best = items->items.front();
  COHORT_ASSIGN_OR_RETURN(Value best_key, comparison_key(budget, best, arguments[1], arguments.truth(0, false)));
  for (size_t i = 1; i < items->items.size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(Value key,
                            comparison_key(budget, items->items[i], arguments[1], arguments.truth(0, false)));
    COHORT_ASSIGN_OR_RETURN(const bool is_better,
                            kWantsMost ? is_less(budget, best_key, key) : is_less(budget, key, best_key));
    if (!is_better) continue;
    best = items->items[i];
    best_key = std::move(key);
  }
  return best;
}

Result<Value> sum(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "sum", {"attribute", "start"}));
  Budget& budget = call.state.budget();
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  Value total = arguments[1] == nullptr ? Value(0) : *arguments[1];
  if (total.is_text()) return invalid_argument("sum(): cannot sum strings");
  for (const Value& item : items->items) {
    COHORT_ASSIGN_OR_RETURN(const Value part,
                            is_given(arguments[0]) ? get_path(budget, item, *arguments[0]) : Result<Value>(item));
    COHORT_ASSIGN_OR_RETURN(total, apply_binary(budget, BinaryOperator::kAdd, total, part));
    COHORT_RETURN_IF_ERROR(budget.charge(1));
  }
  return total;
}

Result<Value> attribute_of(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "attr", {"name"}, 1));
  COHORT_ASSIGN_OR_RETURN(const TextPtr name, to_text(call.state.budget(), *arguments[0]));
  if (call.self.is_dict()) {  // the attributes of a dictionary are its methods, not its items
    bool is_unsafe = false;
    if (find_method(call.self, name->view(), is_unsafe) == nullptr) {
      return Value::undefined("'dict object' has no attribute '" + std::string(name->view()) + "'");
    }
  }
  return get_attribute(call.self, name->view());
}

// The arguments of a filter or test that another filter calls: those from `skipped` on.
Arguments rest_of(const Arguments& arguments, size_t skipped) {
  Arguments rest;
  rest.named = arguments.named;
  if (arguments.positional.size() > skipped) {
    rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(skipped),
                           arguments.positional.end());
  }
  return rest;
}

// What map() does to one item: a filter, or taking an attribute.
struct Mapping {
  Builtin filter = nullptr;
  Arguments arguments;  // of the filter
  Value attribute;
  std::optional<Value> otherwise;  // where the attribute is undefined
};

Result<Mapping> parse_mapping(const Invocation& call) {
  Mapping mapping;
  if (!call.arguments.positional.empty()) {
    const Text* name = call.arguments.positional[0].as_text();
    mapping.filter = name == nullptr ? nullptr : find_filter(name->view());
    if (mapping.filter == nullptr) return invalid_argument("map(): expected the name of a filter");
    mapping.arguments = rest_of(call.arguments, 1);
    return mapping;
  }
  bool has_attribute = false;
  for (const auto& [name, value] : call.arguments.named) {
    if (name == "attribute") {
      mapping.attribute = value;
      has_attribute = true;
    } else if (name == "default") {
      mapping.otherwise = value;
    } else {
      return invalid_argument("map(): has no parameter '" + std::string(name) + "'");
    }
  }
  if (!has_attribute) return invalid_argument("map(): wants a filter or an attribute");
  return mapping;
}

Status map_items(const Invocation& call, std::vector<Value>& mapped) {
  if (!is_truthy(call.self)) return ok_status();  // as Jinja has it, even of what is not iterable
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  COHORT_ASSIGN_OR_RETURN(const Mapping mapping, parse_mapping(call));
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_items(items->items.size()));
  for (const Value& item : items->items) {
    if (mapping.filter != nullptr) {
      COHORT_ASSIGN_OR_RETURN(Value value, mapping.filter({call.state, item, mapping.arguments}));
      mapped.push_back(std::move(value));
    } else {
      COHORT_ASSIGN_OR_RETURN(Value value, get_path(call.state.budget(), item, mapping.attribute));
      mapped.push_back(value.is_undefined() && mapping.otherwise ? *mapping.otherwise : std::move(value));
    }
  }
  return ok_status();
}

Result<Value> map(const Invocation& call) {
  const RenderState::Level level(call.state);
  COHORT_RETURN_IF_ERROR(level.check());
  std::vector<Value> mapped;
  Status status = map_items(call, mapped);
  return make_generator(call.state.budget(), std::move(mapped), std::move(status));
}

// select, reject, selectattr and rejectattr.
template <bool kWanted, bool kByAttribute>
Status select_items(const Invocation& call, std::vector<Value>& kept) {
  Budget& budget = call.state.budget();
  if (!is_truthy(call.self)) return ok_status();  // as Jinja has it, even of what is not iterable
  COHORT_ASSIGN_OR_RETURN(const SequencePtr items, self_items(call));
  const std::vector<Value>& positional = call.arguments.positional;
  constexpr size_t kTestAt = kByAttribute ? 1 : 0;
  if (kByAttribute && positional.empty()) return invalid_argument("selectattr(): wants the name of an attribute");
  Builtin test = nullptr;
  if (positional.size() > kTestAt) {
    const Text* name = positional[kTestAt].as_text();
    test = name == nullptr ? nullptr : find_test(name->view());
    if (test == nullptr) return invalid_argument("select(): expected the name of a test");
  }
  const Arguments arguments = rest_of(call.arguments, kTestAt + 1);
  COHORT_RETURN_IF_ERROR(budget.charge_items(items->items.size()));
  for (const Value& item : items->items) {
    Value value = item;
    if (kByAttribute) {
      COHORT_ASSIGN_OR_RETURN(value, get_path(budget, item, positional[0]));
    }
    if (test != nullptr) {
      COHORT_ASSIGN_OR_RETURN(value, test({call.state, value, arguments}));
    }
    if (is_truthy(value) == kWanted) kept.push_back(item);
  }
  return ok_status();
}

template <bool kWanted, bool kByAttribute>
Result<Value> select(const Invocation& call) {
  const RenderState::Level level(call.state);
  COHORT_RETURN_IF_ERROR(level.check());
  std::vector<Value> kept;
  Status status = select_items<kWanted, kByAttribute>(call, kept);
  return make_generator(call.state.budget(), std::move(kept), std::move(status));
}

struct Entry {
  std::string_view name;
  Builtin filter;
};

constexpr Entry kFilters[] = {
    {"attr", attribute_of},
    {"count", length},
    {"dictsort", dictsort},
    {"first", first},
    {"items", items_of_dict},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

Builtin find_sequence_filter(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFilters), std::end(kFilters), [&](const Entry& e) { return e.name == name; });
  return found == std::end(kFilters) ? nullptr : found->filter;
}

Builtin find_filter(std::string_view name) {
  const Builtin filter = find_text_filter(name);
  return filter != nullptr ? filter : find_sequence_filter(name);
}

}  // namespace cohort::jinja
