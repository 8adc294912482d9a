#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "launcher/bootstrap/job.h"
#include "launcher/bootstrap/mpi_session.h"
#include "launcher/cli/command.h"

namespace cohort {
namespace {

// CLI11 would say only that a subcommand is required.
void check_command(const CLI::App& app, const std::string& name) {
  if (name.empty() || name[0] == '-') return;
  std::string known;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (command->get_name() == name) return;
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  throw CLI::ValidationError(name + ": not a command; expected " + known);
}

int run_program(int argc, char** argv) {
  CLI::App app("Cohort: distributed inference of transformer models", "cohort");
  app.set_version_flag("--version", COHORT_VERSION);
  app.require_subcommand(1);
  Run run;
  add_serve(app, run);
  add_gateway(app, run);
  add_generate(app, run);
  add_encode(app, run);
  add_tokenize(app, run);
  add_inspect(app, run);
  add_config(app, run);
  add_bench(app, run);
  add_completion(app, run);
  try {
    check_command(app, argc > 1 ? argv[1] : "");
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const std::string rank = launched_rank_name();
    if (error.get_exit_code() != 0 && !rank.empty()) fmt::print(stderr, "cohort: {}: ", rank);
    return app.exit(error) == 0 ? kExitOk : kExitUsage;  // help and version are no errors
  }
  try {
    Status status = run();
    if (status.ok()) status = flush_output();  // the disk may be full
    if (status.ok()) return kExitOk;
    fmt::print(stderr, "cohort: {}\n", status.message());
    return kExitFailed;
  } catch (const JobFailure& failure) {  // rank 0 has said why
    return failure.exit_code();
  } catch (const UsageError& error) {
    fmt::print(stderr, "cohort: {}\n", error.what());
    return kExitUsage;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "cohort: out of memory\n");
    return kExitFailed;
  } catch (const std::exception& error) {
    fmt::print(stderr, "cohort: {}\n", error.what());
    return kExitFailed;
  }
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::run_program(argc, argv); }
