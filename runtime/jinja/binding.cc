#include "runtime/jinja/binding.h"

#include <algorithm>
#include <string>

namespace cohort::jinja {

Result<Binding> Binding::make(const Invocation& invocation, std::string_view function,
                              std::initializer_list<std::string_view> names, size_t num_required) {
  const std::string prefix = std::string(function) + "(): ";
  const Arguments& arguments = invocation.arguments;
  if (arguments.positional.size() > names.size()) {
    return invalid_argument(prefix + "takes at most " + std::to_string(names.size()) + " arguments, got " +
                            std::to_string(arguments.positional.size()));
  }
  Binding binding;
  binding.function_ = function;
  binding.names_ = names;
  binding.values_.resize(names.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) binding.values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) return invalid_argument(prefix + "has no parameter '" + std::string(name) + "'");
    const Value*& slot = binding.values_[static_cast<size_t>(found - names.begin())];
    if (slot != nullptr) return invalid_argument(prefix + "got '" + std::string(name) + "' twice");
    slot = &value;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (binding.values_[i] != nullptr) continue;
    return invalid_argument(prefix + "wants an argument '" + std::string(binding.names_[i]) + "'");
  }
  return binding;
}

Result<Int> Binding::integer(size_t index, Int otherwise) const {
  const Value* value = values_[index];
  if (value == nullptr) return otherwise;
  const std::optional<Int> number = as_int(*value);
  if (!number) return wrong_type(index, "an integer");
  return *number;
}

Result<TextPtr> Binding::text(size_t index, std::string_view otherwise) const {
  const Value* value = values_[index];
  if (value == nullptr) return TextPtr(std::make_shared<const Text>(std::string(otherwise)));
  if (!value->is_text()) return wrong_type(index, "a string");
  return value->shared_text();
}

bool Binding::truth(size_t index, bool otherwise) const {
  return values_[index] == nullptr ? otherwise : is_truthy(*values_[index]);
}

Status Binding::wrong_type(size_t index, std::string_view expected) const {
  if (values_[index]->is_undefined()) return undefined_error(*values_[index]);
  return invalid_argument(std::string(function_) + "(): '" + std::string(names_[index]) + "': expected " +
                          std::string(expected) + ", got a value of type '" + std::string(type_name(*values_[index])) +
                          "'");
}

}  // namespace cohort::jinja
