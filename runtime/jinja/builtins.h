// The filters, tests, methods and functions that templates find without defining them.
//
// Names, parameters and results are those of Jinja 3.1 and Python. The tables are constant: thread-safe.
#pragma once

#include <string_view>

#include "runtime/jinja/value.h"

namespace cohort::jinja {

// nullptr where there is none of that name.
Builtin find_filter(std::string_view name);
Builtin find_test(std::string_view name);      // gives a bool
Builtin find_function(std::string_view name);  // range, namespace, dict, raise_exception, strftime_now

// A method of `object`'s type. `is_unsafe` is set where Python has it and it would change the object.
Builtin find_method(const Value& object, std::string_view name, bool& is_unsafe);

// object.name: the method of that name, or else the item, or else undefined. An error for an undefined object.
Result<Value> get_attribute(const Value& object, std::string_view name);

// object[key]: the item, or else for a text as key the method of that name, or else undefined.
Result<Value> get_item(Budget& budget, const Value& object, const Value& key);

// object[start:stop:step]; each part is an integer or None. An error for what has no slices.
Result<Value> get_slice(Budget& budget, const Value& object, const Value& start, const Value& stop, const Value& step);

// What an attribute argument such as "function.name" or 0 names in `object`.
Result<Value> get_path(Budget& budget, const Value& object, const Value& path);

}  // namespace cohort::jinja
