// ConfigFlags: the configuration as a command's flags: --config FILE, a flag for each key, --print-config, --dry-run.
//
// The flags are made from config_keys(), and their texts go to load_config() as they are, so that a value is checked
// in one place and a message reads the same wherever the value came from.
//
// Must stay where it is until the command line is parsed: CLI11 keeps references into it. One thread.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/config/config.h"

namespace cohort {

class ConfigFlags {
 public:
  explicit ConfigFlags(CLI::App& command);
  ConfigFlags(const ConfigFlags&) = delete;
  ConfigFlags& operator=(const ConfigFlags&) = delete;

  // After parsing: command line over environment over --config over defaults. Throws UsageError, which names the flag,
  // the variable, or file, line and key.
  Config load() const;

  // Whether the command shall print the configuration and exit.
  bool print_config() const { return print_config_; }
  // Whether the command shall check what it can without loading weights, and exit.
  bool dry_run() const { return dry_run_; }

 private:
  std::vector<std::string> files_;               // of --config; more than one is an error
  std::vector<std::vector<std::string>> texts_;  // of each key's flag, in the order of config_keys()
  bool print_config_ = false;
  bool dry_run_ = false;
};

}  // namespace cohort
