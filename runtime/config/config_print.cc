#include "runtime/config/config_loader.h"
#include "runtime/config/config_value.h"
#include "runtime/config/yaml_reader.h"

namespace cohort {

std::string print_config(const Config& config) {
  const auto keys = config_keys();
  std::string text;
  for (size_t i = 0; i < keys.size(); ++i) {
    const ConfigKey& key = keys[i];
    if (i == 0 || keys[i - 1].section() != key.section()) text.append(key.section()).append(":\n");
    text.append("  ").append(key.name()).append(": ").append(print_config_value(key, key.field.get(config)));
    if (i < config.origins.size()) text.append("  # ").append(on_one_line(config.origins[i]));
    text.append("\n");
  }
  return text;
}

std::string canonical_config(const Config& config) {
  std::string text;
  for (const ConfigKey& key : config_keys()) {
    if (key.may_differ) continue;
    text.append(key.path).append("=").append(print_config_value(key, key.field.get(config))).append("\n");
  }
  return text;
}

}  // namespace cohort
