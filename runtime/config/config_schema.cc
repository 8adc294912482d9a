#include "runtime/config/config_schema.h"

#include <nlohmann/json.hpp>

#include "runtime/config/config.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

template <typename Range>
void describe_range(Json& json, const char* type, const Range& range) {
  json["type"] = type;
  json["minimum"] = range.min;
  json["maximum"] = range.max;
}

void describe(Json& json, const IntegerRange& range) { describe_range(json, "integer", range); }
void describe(Json& json, const UnsignedRange& range) { describe_range(json, "integer", range); }
void describe(Json& json, const NumberRange& range) { describe_range(json, "number", range); }
void describe(Json& json, const TextChoices& choices) {
  json["type"] = "string";
  for (const std::string_view name : choices.names) json["enum"].push_back(name);
}
void describe(Json& json, const FreeText& limits) {
  json["type"] = "string";
  if (!limits.may_be_empty) json["minLength"] = 1;
}

Json key_schema(const ConfigKey& key) {
  Json json;
  json["description"] = key.help;
  std::visit([&](const auto& limits) { describe(json, limits); }, key.limits);
  std::visit([&](const auto& value) { json["default"] = value; }, key.field.get(Config{}));
  return json;
}

}  // namespace

std::string config_json_schema() {
  Json schema;
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = "Cohort configuration";
  // A file or section in which everything is commented out is null.
  schema["type"] = {"object", "null"};
  schema["additionalProperties"] = false;
  for (const ConfigKey& key : config_keys()) {
    Json& section = schema["properties"][std::string(key.section())];
    if (section.is_null()) section = {{"type", {"object", "null"}}, {"additionalProperties", false}};
    section["properties"][std::string(key.name())] = key_schema(key);
  }
  return schema.dump(2) + "\n";
}

}  // namespace cohort
