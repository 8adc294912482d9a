#include "runtime/chat/json_value.h"

#include <string>
#include <utility>
#include <vector>

#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

Result<jinja::Value> convert(const ordered_json& json, bool is_data, int depth);

Result<jinja::Value> convert_text(const std::string& text, bool is_data) {
  if (!is_valid_utf8(text)) return invalid_argument("a text is not UTF-8");
  return jinja::Value(jinja::Text(text, is_data));
}

Result<jinja::Value> convert_array(const ordered_json& json, bool is_data, int depth) {
  auto sequence = std::make_shared<jinja::Sequence>();
  sequence->items.reserve(json.size());
  for (const ordered_json& element : json) {
    COHORT_ASSIGN_OR_RETURN(jinja::Value item, convert(element, is_data, depth + 1));
    sequence->depth = std::max(sequence->depth, jinja::value_depth(item) + 1);
    sequence->items.push_back(std::move(item));
  }
  return jinja::Value(jinja::SequencePtr(std::move(sequence)));
}

Result<jinja::Value> convert_object(const ordered_json& json, bool is_data, int depth) {
  jinja::Dict dict;
  for (const auto& [name, member] : json.items()) {
    COHORT_ASSIGN_OR_RETURN(jinja::Value key, convert_text(name, is_data));
    COHORT_ASSIGN_OR_RETURN(jinja::Value value, convert(member, is_data, depth + 1));
    dict.set(std::move(key), std::move(value));
  }
  return jinja::Value(jinja::DictPtr(std::make_shared<const jinja::Dict>(std::move(dict))));
}

Result<jinja::Value> convert(const ordered_json& json, bool is_data, int depth) {
  if (depth > jinja::kMaxValueDepth / 2) return invalid_argument("a value nests too deep");
  switch (json.type()) {
    case ordered_json::value_t::null:
      return jinja::Value(jinja::None());
    case ordered_json::value_t::boolean:
      return jinja::Value(json.get<bool>());
    case ordered_json::value_t::number_integer:
      return jinja::Value(jinja::Int{json.get<int64_t>()});
    case ordered_json::value_t::number_unsigned:
      return jinja::Value(jinja::Int{json.get<uint64_t>()});
    case ordered_json::value_t::number_float:
      return jinja::Value(json.get<double>());
    case ordered_json::value_t::string:
      return convert_text(json.get_ref<const std::string&>(), is_data);
    case ordered_json::value_t::array:
      return convert_array(json, is_data, depth);
    case ordered_json::value_t::object:
      return convert_object(json, is_data, depth);
    case ordered_json::value_t::binary:
    case ordered_json::value_t::discarded:
      break;
  }
  return invalid_argument("a value is no JSON");
}

}  // namespace

Result<jinja::Value> value_from_json(const ordered_json& json, bool is_data) { return convert(json, is_data, 0); }

}  // namespace cohort
