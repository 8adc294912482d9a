// cohort config: the configuration as it is resolved, and its JSON Schema.
#include <fmt/format.h>

#include <memory>

#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "runtime/config/config_loader.h"
#include "runtime/config/config_schema.h"

namespace cohort {

void add_config(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("config", "Show the configuration, or the schema of its file");
  command.require_subcommand(1);

  CLI::App& show = *command.add_subcommand("show", "Print the resolved configuration, with where each value came from");
  auto flags = std::make_shared<ConfigFlags>(show);
  show.callback([flags, &run] {
    run = [flags] {
      fmt::print("{}", print_config(flags->load()));
      return flush_output();
    };
  });

  CLI::App& schema = *command.add_subcommand("schema", "Print the JSON Schema of a configuration file");
  schema.callback([&run] {
    run = [] {
      fmt::print("{}", config_json_schema());
      return flush_output();
    };
  });
}

}  // namespace cohort
