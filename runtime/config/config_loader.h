// From a YAML file, the environment and the command line to one checked Config, and back to text.
//
// A setting is taken from the command line, else from the environment, else from the file, else from its default; what
// is overridden is checked nevertheless. The first mistake is returned as a Status that says where it is and what was
// expected: "configs/x.yaml:12: parallel.tensor_paralel_size: unknown key, did you mean tensor_parallel_size?",
// "COHORT_BLOCK_SIZE: expected 1 to 1024, got 0", "--tp: expected an integer, got \"two\"".
//
// Free functions; thread-safe as long as nobody changes the environment.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/config/config.h"

namespace cohort {

inline constexpr size_t kMaxConfigBytes = 1 << 20;

using NamedTexts = std::vector<std::pair<std::string, std::string>>;

// The variables of the process whose names begin with COHORT_.
NamedTexts cohort_environment();

struct ConfigSources {
  std::optional<std::filesystem::path> file;
  // From the command line, in its order: a flag ("--tp") or the path of a key, and its text. A key may be given once.
  NamedTexts flags;
  // Variables of other names are nobody's mistake unless they nearly are a key's. An empty one counts as absent, since
  // a batch script can hardly unset one.
  NamedTexts environment = cohort_environment();
};

// NOT_FOUND when there is no such file, DATA_LOSS when it cannot be read, INVALID_ARGUMENT otherwise.
Result<Config> load_config(const ConfigSources& sources);

// The same, with `yaml` for what the file `sources.file` holds. It need not exist; its name stands in messages.
Result<Config> load_config_text(std::string_view yaml, const ConfigSources& sources);

// YAML of every key, each with where its value came from as a comment. Loads back to an equal Config.
std::string print_config(const Config& config);

// "key=value\n" for every key that the ranks of a deployment must agree on: equal texts, equal configurations.
std::string canonical_config(const Config& config);

}  // namespace cohort
