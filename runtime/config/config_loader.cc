#include "runtime/config/config_loader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "runtime/config/config_value.h"
#include "runtime/config/near_miss.h"
#include "runtime/config/yaml_reader.h"

namespace cohort {
namespace {

constexpr std::string_view kEnvironmentPrefix = "COHORT_";

size_t index_of(const ConfigKey& key) { return static_cast<size_t>(&key - config_keys().data()); }

std::string joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

// A third of the letters may be wrong, but no more than three.
size_t max_distance(std::string_view name) { return std::clamp<size_t>(name.size() / 3, 1, 3); }

// The path of a key of this name in whatever section, empty if there is none.
std::string_view path_of_name(std::string_view name) {
  for (const ConfigKey& key : config_keys()) {
    if (key.name() == name || key.path == name) return key.path;
  }
  return {};
}

// What to say of a name that is not among `known`; `kind` is "key" or "section".
std::string unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string_view>& known) {
  std::string message = "unknown " + std::string(kind) + ", ";
  std::string_view meant = nearest_name(name, known, max_distance(name));
  if (meant.empty()) meant = path_of_name(name);
  if (!meant.empty()) return message + "did you mean " + std::string(meant) + "?";
  return message + "expected one of " + joined(known);
}

// Fills a Config from the weakest source to the strongest.
class Loader {
 public:
  Loader() { config_.origins.assign(config_keys().size(), "default"); }

  Status read_file(std::string_view yaml, const std::string& file_name);
  Status read_environment(const NamedTexts& variables);
  Status read_flags(const NamedTexts& flags);
  Result<Config> finish();

 private:
  Status read_section(const YamlEntry& section, const std::string& file_name);

  // Takes a value, or says that `where` holds none.
  Status set(const ConfigKey& key, Result<ConfigValue> value, std::string_view where, std::string origin) {
    if (!value.ok()) return Status(value.status()).annotate(where);
    key.field.set(config_, *std::move(value));
    config_.origins[index_of(key)] = std::move(origin);
    return ok_status();
  }

  Config config_;
};

Status Loader::read_file(std::string_view yaml, const std::string& file_name) {
  COHORT_ASSIGN_OR_RETURN(const YamlNode root, read_yaml(yaml, file_name));
  if (root.kind == YamlNode::Kind::kNull) return ok_status();
  if (root.kind != YamlNode::Kind::kMap) {
    return invalid_argument(file_name + ":" + std::to_string(root.line) + ": expected a map of sections");
  }
  for (const YamlEntry& section : root.entries) COHORT_RETURN_IF_ERROR(read_section(section, file_name));
  return ok_status();
}

Status Loader::read_section(const YamlEntry& section, const std::string& file_name) {
  const auto line_of = [&](int line) { return file_name + ":" + std::to_string(line); };
  const std::string where = line_of(section.line) + ": " + name_for_message(section.key);
  std::vector<std::string_view> known;
  for (const ConfigKey& key : config_keys()) {
    if (key.section() == section.key) known.push_back(key.name());
  }
  if (known.empty()) return invalid_argument(where + ": " + unknown_name("section", section.key, config_sections()));
  // All keys of a section may be commented out.
  if (section.value.kind == YamlNode::Kind::kNull) return ok_status();
  if (section.value.kind != YamlNode::Kind::kMap) {
    return invalid_argument(where + ": expected a map with any of " + joined(known));
  }
  for (const YamlEntry& entry : section.value.entries) {
    const std::string path = section.key + "." + name_for_message(entry.key);
    const ConfigKey* key = find_config_key(section.key + "." + entry.key);
    if (key == nullptr) {
      return invalid_argument(line_of(entry.line) + ": " + path + ": " + unknown_name("key", entry.key, known));
    }
    COHORT_RETURN_IF_ERROR(
        set(*key, parse_config_value(*key, entry.value), line_of(entry.line) + ": " + path, line_of(entry.line)));
  }
  return ok_status();
}

const ConfigKey* key_of_variable(const std::string& name) {
  for (const ConfigKey& key : config_keys()) {
    if (key.environment() == name) return &key;
  }
  return nullptr;
}

// The variable that somebody meant with this one, which is none; empty if it looks like another program's.
std::string meant_variable(const std::string& name) {
  const auto variable = [](std::string_view flag_like) {
    return ConfigKey{.path = {}, .flag = flag_like, .limits = {}, .help = {}, .field = {}}.environment();
  };
  for (const ConfigKey& key : config_keys()) {
    if (edit_distance(name, key.environment(), 2)) return key.environment();
    if (!key.short_flag.empty() && name == variable(key.short_flag)) return key.environment();
    std::string long_name = "--" + std::string(key.path);
    std::replace_if(
        long_name.begin(), long_name.end(), [](char c) { return c == '.' || c == '_'; }, '-');
    if (name == variable(long_name)) return key.environment();
  }
  return {};
}

Status Loader::read_environment(const NamedTexts& variables) {
  for (const auto& [name, text] : variables) {
    if (!name.starts_with(kEnvironmentPrefix) || text.empty()) continue;
    if (const ConfigKey* key = key_of_variable(name)) {
      COHORT_RETURN_IF_ERROR(set(*key, parse_config_value(*key, text), name, name));
    } else if (const std::string meant = meant_variable(name); !meant.empty()) {
      return invalid_argument(name_for_message(name) + ": unknown variable, did you mean " + meant + "?");
    }
  }
  return ok_status();
}

Status Loader::read_flags(const NamedTexts& flags) {
  std::vector<bool> is_given(config_keys().size());
  for (const auto& [name, text] : flags) {
    const ConfigKey* key = find_config_key(name);
    if (key == nullptr) return invalid_argument(name_for_message(name) + ": unknown flag");
    if (is_given[index_of(*key)]) return invalid_argument(name + ": given twice, expected once");
    is_given[index_of(*key)] = true;
    COHORT_RETURN_IF_ERROR(set(*key, parse_config_value(*key, text), name, name));
  }
  return ok_status();
}

Result<Config> Loader::finish() {
  // Relations between keys. The message stands at the timeout, or at the interval if only that one was given.
  const HealthConfigSection& health = config_.health;
  if (health.heartbeat_timeout_ms < 2 * health.heartbeat_interval_ms) {
    const ConfigKey& timeout = *find_config_key("health.heartbeat_timeout_ms");
    const ConfigKey& interval = *find_config_key("health.heartbeat_interval_ms");
    const ConfigKey& given = config_.origins[index_of(timeout)] == "default" ? interval : timeout;
    return invalid_argument(config_.origins[index_of(given)] + ": " + std::string(timeout.path) +
                            ": expected at least 2 x heartbeat_interval_ms (" +
                            std::to_string(2 * health.heartbeat_interval_ms) + "), got " +
                            std::to_string(health.heartbeat_timeout_ms));
  }
  return std::move(config_);
}

Result<std::string> read_config_file(const std::filesystem::path& path) {
  std::error_code code;
  const auto type = std::filesystem::status(path, code).type();
  if (type == std::filesystem::file_type::not_found) return not_found(path.string() + ": no such file");
  if (type == std::filesystem::file_type::directory) {
    return invalid_argument(path.string() + ": expected a YAML file, got a directory");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return data_loss(path.string() + ": cannot be opened: " + std::strerror(errno));
  // Not the size that the file system tells: a pipe has none, and /proc's files lie.
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return data_loss(path.string() + ": cannot be read: " + std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

NamedTexts cohort_environment() {
  NamedTexts variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t end = text.find('=');
    if (end == std::string_view::npos || !text.starts_with(kEnvironmentPrefix)) continue;
    variables.emplace_back(text.substr(0, end), text.substr(end + 1));
  }
  return variables;
}

Result<Config> load_config_text(std::string_view yaml, const ConfigSources& sources) {
  const std::string file_name = sources.file ? sources.file->string() : "config";
  if (yaml.size() > kMaxConfigBytes) {
    return invalid_argument(file_name + ": expected at most " + std::to_string(kMaxConfigBytes) + " bytes");
  }
  Loader loader;
  COHORT_RETURN_IF_ERROR(loader.read_file(yaml, file_name));
  COHORT_RETURN_IF_ERROR(loader.read_environment(sources.environment));
  COHORT_RETURN_IF_ERROR(loader.read_flags(sources.flags));
  return loader.finish();
}

Result<Config> load_config(const ConfigSources& sources) {
  if (!sources.file) return load_config_text("", sources);
  COHORT_ASSIGN_OR_RETURN(const std::string yaml, read_config_file(*sources.file));
  return load_config_text(yaml, sources);
}

}  // namespace cohort
