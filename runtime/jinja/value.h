// The values that a template computes with: Python's, as far as chat templates use them.
//
// Lists and dictionaries are immutable, as Jinja's ImmutableSandboxedEnvironment has them, and shared. A Value belongs
// to one render and one thread, but for the literals of a parsed template, which are never written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/jinja/budget.h"
#include "runtime/jinja/text.h"

namespace cohort::jinja {

// Python's integers have no bound. Ours have 128 bits and an error beyond, which holds every integer of 64 bits, signed
// or not, that JSON brings along.
__extension__ using Int = __int128;

class Value;
class Dict;
struct Sequence;
struct Loop;
struct Callable;
struct Namespace;

// The value of a name that has none. Using it for more than a test, a loop or printing is the error `problem`.
struct Undefined {
  std::shared_ptr<const std::string> problem;
};

struct None {};

using SequencePtr = std::shared_ptr<const Sequence>;
using DictPtr = std::shared_ptr<const Dict>;
using LoopPtr = std::shared_ptr<const Loop>;
using CallablePtr = std::shared_ptr<const Callable>;

class Value {
 public:
  using Storage =
      std::variant<Undefined, None, bool, Int, double, TextPtr, SequencePtr, DictPtr, LoopPtr, CallablePtr, Namespace*>;

  Value() : storage_(Undefined()) {}
  Value(None) : storage_(None()) {}                                              // NOLINT: implicit, as are those below
  Value(bool truth) : storage_(truth) {}                                         // NOLINT
  Value(Int number) : storage_(number) {}                                        // NOLINT
  Value(int number) : storage_(Int{number}) {}                                   // NOLINT
  Value(size_t number) : storage_(Int{number}) {}                                // NOLINT
  Value(double number) : storage_(number) {}                                     // NOLINT
  Value(Text text) : storage_(std::make_shared<const Text>(std::move(text))) {}  // NOLINT
  Value(TextPtr text) : storage_(std::move(text)) {}                             // NOLINT
  Value(SequencePtr sequence) : storage_(std::move(sequence)) {}                 // NOLINT
  Value(DictPtr dict) : storage_(std::move(dict)) {}                             // NOLINT
  Value(LoopPtr loop) : storage_(std::move(loop)) {}                             // NOLINT
  Value(CallablePtr callable) : storage_(std::move(callable)) {}                 // NOLINT
  Value(Namespace* space) : storage_(space) {}                                   // NOLINT
  Value(const char*) = delete;                                                   // would be a bool

  static Value undefined(std::string problem);
  static Value text(std::string bytes) { return Value(Text(std::move(bytes))); }

  const Storage& storage() const { return storage_; }
  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_none() const { return std::holds_alternative<None>(storage_); }
  bool is_text() const { return std::holds_alternative<TextPtr>(storage_); }
  bool is_dict() const { return std::holds_alternative<DictPtr>(storage_); }
  bool is_int() const { return std::holds_alternative<Int>(storage_); }
  bool is_float() const { return std::holds_alternative<double>(storage_); }
  bool is_bool() const { return std::holds_alternative<bool>(storage_); }

  // The content, or nullptr when this is something else.
  const Text* as_text() const;
  const Sequence* as_sequence() const;
  const Dict* as_dict() const;
  const Loop* as_loop() const;
  const Callable* as_callable() const;
  Namespace* as_namespace() const;

  // Requires is_text().
  const TextPtr& shared_text() const { return std::get<TextPtr>(storage_); }

 private:
  Storage storage_;
};

struct Sequence {
  enum class Kind {
    kList,
    kTuple,
    kRange,
    kKeys,  // the three views of a dictionary
    kValues,
    kItems,
    kGenerator,  // what map(), select() and the like return: gives its items once, has no length
  };
  Kind kind = Kind::kList;
  std::vector<Value> items;
  int depth = 1;                 // 1 for a list of plain values
  mutable size_t num_taken = 0;  // of a generator
  Status failure;                // of a generator: what happens when more than `items` are taken
};

// A dictionary in the order of insertion.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

  // nullptr when there is no such key.
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;

  // What find() and set() cost, in steps, beyond the first: keys that are no texts are looked for one by one.
  int64_t search_steps(const Value& key) const { return key.is_text() ? 0 : static_cast<int64_t>(entries_.size() / 4); }

  // Requires is_hashable(key). A key that is there keeps its place and gets the new value.
  void set(Value key, Value value);

 private:
  size_t position(const Value& key) const;  // size() when there is no such key
  size_t position(std::string_view key) const;

  std::vector<Entry> entries_;
  std::map<std::string_view, size_t> by_text_;  // of keys that are texts, once there are many
  int depth_ = 1;
};

// The variable `loop` of a for statement. `index` is the iteration under way.
struct Loop {
  SequencePtr items;
  mutable size_t index = 0;
};

// The only thing that a template can change. Owned by the render, so that cycles do not keep it alive.
struct Namespace {
  std::map<std::string, Value, std::less<>> attributes;
};

class RenderState;
struct MacroStatement;
struct Scope;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

// One call of a filter, test, method or function.
struct Invocation {
  RenderState& state;
  const Value& self;  // the filtered or tested value, or the object of a method
  const Arguments& arguments;
};
using Builtin = Result<Value> (*)(const Invocation&);

struct Callable {
  Builtin builtin = nullptr;  // or else a macro
  Value self;                 // the object of a method
  const MacroStatement* macro = nullptr;
  Scope* scope = nullptr;  // where the macro was defined
};

// Makes a sequence; kResourceExhausted when it nests too deep.
Result<Value> make_sequence(Budget& budget, Sequence::Kind kind, std::vector<Value> items);
// A generator of `items`; Python makes them one by one, so that an error of making the next one is an error of taking
// it.
Result<Value> make_generator(Budget& budget, std::vector<Value> items, Status failure = ok_status());
Result<Value> make_list(Budget& budget, std::vector<Value> items);
Result<Value> make_dict(Budget& budget, Dict dict);

int value_depth(const Value& value);
std::string_view type_name(const Value& value);  // as Python names it

bool is_truthy(const Value& value);

// Whether it can be a key: a plain value, or a tuple of plain values.
bool is_hashable(const Value& value);

// Numbers, bools among them, as integers; nothing for anything else.
std::optional<Int> as_int(const Value& value);
bool is_number(const Value& value);
double as_double(const Value& value);  // requires is_number(value)

// len(value); an error for what has none.
Result<size_t> length_of(const Value& value);

// The items that `for` goes over; takes what is left of a generator.
Result<SequencePtr> items_of(Budget& budget, const Value& value);

Result<bool> is_equal(Budget& budget, const Value& a, const Value& b);

// a < b; an error where Python knows no order.
Result<bool> is_less(Budget& budget, const Value& a, const Value& b);

// needle in haystack.
Result<bool> contains(Budget& budget, const Value& haystack, const Value& needle);

// The error of using an undefined value.
Status undefined_error(const Value& value);

}  // namespace cohort::jinja
