// Values of configuration keys: from text and YAML, and back to text.
//
// An error is the part of a message after where the value stands: "expected 1 to 1024, got 0".
// Free functions without shared state: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "runtime/config/config.h"
#include "runtime/config/yaml_reader.h"

namespace cohort {

// The value that a flag or an environment variable gives.
Result<ConfigValue> parse_config_value(const ConfigKey& key, std::string_view text);

// The value that a file gives. Types are not converted: a number in quotes is a text, and 8 is not a text.
Result<ConfigValue> parse_config_value(const ConfigKey& key, const YamlNode& node);

// As YAML, to be read back as the same value of the same type. Text that is one of a key's choices needs no quotes.
std::string print_config_value(const ConfigKey& key, const ConfigValue& value);

}  // namespace cohort
