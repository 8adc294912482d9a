// The arguments of a call, matched with the parameters of a builtin.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/jinja/value.h"

namespace cohort::jinja {

// Borrows from the Invocation that it was made of.
class Binding {
 public:
  // Matches by position, then by name. An error names `function` where an argument is one too many, has no such name,
  // is given twice, or is missing among the first `num_required`.
  static Result<Binding> make(const Invocation& invocation, std::string_view function,
                              std::initializer_list<std::string_view> names, size_t num_required = 0);

  // nullptr when it was not given.
  const Value* operator[](size_t index) const { return values_[index]; }

  // The argument, or `otherwise` when it was not given; an error when it is of another type.
  Result<Int> integer(size_t index, Int otherwise) const;
  Result<TextPtr> text(size_t index, std::string_view otherwise) const;
  bool truth(size_t index, bool otherwise) const;

 private:
  Status wrong_type(size_t index, std::string_view expected) const;

  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace cohort::jinja
