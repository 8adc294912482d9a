#include "launcher/cli/config_flags.h"

#include <fmt/format.h>

#include "launcher/cli/command.h"
#include "runtime/config/config_loader.h"
#include "runtime/config/config_value.h"

namespace cohort {
namespace {

// One text a use, and a use more is kept, so that load_config() can tell that a flag was given twice.
CLI::Option& add_text_option(CLI::App& command, const std::string& names, std::vector<std::string>& texts,
                             const std::string& help) {
  return *command.add_option(names, texts, help)->expected(1)->take_all()->allow_extra_args(false);
}

std::string group_name(const ConfigKey& key) {
  std::string name(key.section());
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

// As CLI11 shows its own checks, which the flags of other commands have.
std::string type_text(const ConfigLimits& limits) {
  if (const auto* choices = std::get_if<TextChoices>(&limits)) {
    std::string text = "TEXT:{";
    for (const std::string_view name : choices->names) text.append(text.ends_with('{') ? "" : ",").append(name);
    return text + "}";
  }
  if (const auto* range = std::get_if<IntegerRange>(&limits))
    return fmt::format("INT in [{} - {}]", range->min, range->max);
  if (const auto* range = std::get_if<NumberRange>(&limits))
    return fmt::format("FLOAT in [{} - {}]", range->min, range->max);
  return std::holds_alternative<UnsignedRange>(limits) ? "UINT" : "TEXT";
}

}  // namespace

ConfigFlags::ConfigFlags(CLI::App& command) : texts_(config_keys().size()) {
  add_text_option(command, "--config", files_, "Configuration file; flags and COHORT_ variables go before it")
      .type_name("FILE");
  command.add_flag("--print-config", print_config_,
                   "Print the configuration, with where each value came from, and exit");
  command.add_flag("--dry-run", dry_run_, "Check everything that needs no weights, and exit");
  for (size_t i = 0; i < texts_.size(); ++i) {
    const ConfigKey& key = config_keys()[i];
    std::string names(key.flag);
    if (!key.short_flag.empty()) names.append(",").append(key.short_flag);
    add_text_option(command, names, texts_[i], std::string(key.help))
        .type_name(type_text(key.limits))
        ->default_str(print_config_value(key, key.field.get(Config{})))
        ->group(group_name(key));
  }
}

Config ConfigFlags::load() const {
  ConfigSources sources;
  if (files_.size() > 1) throw UsageError("--config: given twice, expected once");
  if (!files_.empty()) sources.file = files_[0];
  for (size_t i = 0; i < texts_.size(); ++i) {
    for (const std::string& text : texts_[i]) sources.flags.emplace_back(config_keys()[i].flag, text);
  }
  Result<Config> config = load_config(sources);
  if (!config.ok()) throw UsageError(config.status().message());  // it begins with where the mistake is
  return *std::move(config);
}

}  // namespace cohort
