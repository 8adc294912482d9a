// What the commands of the `cohort` program share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stdexcept>
#include <string>

#include "kernels/core/status.h"

namespace cohort {

enum ExitCode { kExitOk = 0, kExitFailed = 1, kExitUsage = 2 };

// A flag or argument that cannot be; ends the program with kExitUsage. The message names the flag.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Adds a command to the program: its flags, and in `run` what to do when it was chosen. The status of `run` decides
// between kExitOk and kExitFailed.
using Run = std::function<Status()>;
void add_generate(CLI::App& app, Run& run);
void add_encode(CLI::App& app, Run& run);
void add_serve(CLI::App& app, Run& run);
void add_gateway(CLI::App& app, Run& run);
void add_tokenize(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_config(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_bench_kernels(CLI::App& bench, Run& run);
void add_bench_engine(CLI::App& bench, Run& run);
void add_bench_scaling(CLI::App& bench, Run& run);
void add_bench_serve(CLI::App& bench, Run& run);
void add_completion(CLI::App& app, Run& run);

// Reads a whole file, or standard input for "-". NOT_FOUND names the file.
Result<std::string> read_input(const std::string& path);

// Ids in text, apart by commas, white space or both, with or without brackets around all. INVALID_ARGUMENT names what
// is not an id.
Result<std::vector<int32_t>> parse_token_ids(std::string_view text);

// Writes a whole file. What cannot be written is an error that names the file.
Status write_output(const std::string& path, const std::string& text);
// Whether write_output() could, for what takes long to find out. The file is there then.
Status can_write(const std::string& path);

// Flushes standard output; what could not be written (disk full, say) is an error.
Status flush_output();

}  // namespace cohort
