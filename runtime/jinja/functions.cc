// The global functions of templates.
#include <ctime>
#include <string>

#include "runtime/jinja/binding.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/render_state.h"
#include "runtime/jinja/strings.h"

namespace cohort::jinja {
namespace {

constexpr size_t kMaxDateBytes = 4096;

Result<Value> range(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "range", {"start", "stop", "step"}, 1));
  COHORT_ASSIGN_OR_RETURN(const Int first, arguments.integer(0, 0));
  COHORT_ASSIGN_OR_RETURN(const Int second, arguments.integer(1, 0));
  COHORT_ASSIGN_OR_RETURN(const Int step, arguments.integer(2, 1));
  const bool has_start = arguments[1] != nullptr;
  const Int start = has_start ? first : 0;
  const Int stop = has_start ? second : first;
  if (step == 0) return invalid_argument("range(): 'step' must not be zero");
  std::vector<Value> items;
  for (Int at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return resource_exhausted("range(): more than " + std::to_string(kMaxRange) + " items");
    }
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return make_sequence(call.state.budget(), Sequence::Kind::kRange, std::move(items));
}

// Calls assign(key, value) for what dict() and namespace() take: a mapping, and named values.
template <typename Assign>
Status collect_named(const Invocation& call, std::string_view function, Assign assign) {
  if (call.arguments.positional.size() > 1) return invalid_argument(std::string(function) + "(): takes one mapping");
  Budget& budget = call.state.budget();
  for (const Value& mapping : call.arguments.positional) {
    if (const Dict* dict = mapping.as_dict()) {
      for (const auto& [key, value] : dict->entries()) COHORT_RETURN_IF_ERROR(assign(key, value));
      continue;
    }
    COHORT_ASSIGN_OR_RETURN(const SequencePtr pairs, items_of(budget, mapping));
    for (const Value& pair : pairs->items) {
      COHORT_ASSIGN_OR_RETURN(const SequencePtr parts, items_of(budget, pair));
      if (parts->items.size() != 2) return invalid_argument(std::string(function) + "(): expected pairs");
      COHORT_RETURN_IF_ERROR(assign(parts->items[0], parts->items[1]));
    }
  }
  for (const auto& [name, value] : call.arguments.named) {
    COHORT_RETURN_IF_ERROR(assign(Value::text(std::string(name)), value));
  }
  return ok_status();
}

Result<Value> dict(const Invocation& call) {
  Dict made;
  const auto assign = [&](const Value& key, const Value& value) -> Status {
    if (!is_hashable(key)) return invalid_argument("unhashable type: '" + std::string(type_name(key)) + "'");
    COHORT_RETURN_IF_ERROR(call.state.budget().charge(made.search_steps(key)));
    made.set(key, value);
    return ok_status();
  };
  COHORT_RETURN_IF_ERROR(collect_named(call, "dict", assign));
  return make_dict(call.state.budget(), std::move(made));
}

Result<Value> make_namespace(const Invocation& call) {
  Namespace* space = call.state.add_namespace();
  COHORT_RETURN_IF_ERROR(collect_named(call, "namespace", [&](const Value& key, const Value& value) {
    if (!key.is_text()) return invalid_argument("namespace(): expected names as keys");
    space->attributes.insert_or_assign(std::string(key.as_text()->view()), value);
    return ok_status();
  }));
  COHORT_RETURN_IF_ERROR(call.state.budget().charge_items(space->attributes.size()));
  return Value(space);
}

Result<Value> raise_exception(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "raise_exception", {"message"}, 1));
  const Text* message = arguments[0]->as_text();
  call.state.set_located();
  return invalid_argument(message == nullptr ? "the template refuses this" : std::string(message->view()));
}

// Python's microseconds, which strftime() does not know.
std::string expand_microseconds(std::string_view format, std::chrono::system_clock::time_point now) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    const bool is_pair = format[i] == '%' && i + 1 < format.size();
    if (is_pair && format[i + 1] == 'f') {
      const auto micros = std::chrono::floor<std::chrono::microseconds>(now.time_since_epoch()).count() % 1'000'000;
      const std::string digits = std::to_string(micros < 0 ? micros + 1'000'000 : micros);
      out += std::string(6 - digits.size(), '0') + digits;
    } else {
      out += format[i];
      if (is_pair) out += format[i + 1];
    }
    if (is_pair) ++i;
  }
  return out;
}

Result<Value> strftime_now(const Invocation& call) {
  COHORT_ASSIGN_OR_RETURN(const Binding arguments, Binding::make(call, "strftime_now", {"format"}, 1));
  COHORT_ASSIGN_OR_RETURN(const TextPtr text, arguments.text(0, ""));
  if (text->size() > kMaxDateBytes) return invalid_argument("strftime_now(): the format is too long");
  // The blank tells an empty date from one that does not fit.
  const std::string format = expand_microseconds(text->view(), call.state.now()) + " ";
  const std::time_t seconds = std::chrono::system_clock::to_time_t(call.state.now());
  std::tm local{};
  localtime_r(&seconds, &local);
  std::string date(2 * kMaxDateBytes, '\0');
  const size_t size = std::strftime(date.data(), date.size(), format.c_str(), &local);
  if (size == 0) return invalid_argument("strftime_now(): the date is too long");
  date.resize(size - 1);
  return Value::text(std::move(date));
}

}  // namespace

Builtin find_function(std::string_view name) {
  if (name == "range") return range;
  if (name == "dict") return dict;
  if (name == "namespace") return make_namespace;
  if (name == "raise_exception") return raise_exception;
  if (name == "strftime_now") return strftime_now;
  return nullptr;
}

}  // namespace cohort::jinja
