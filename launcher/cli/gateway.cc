// cohort gateway: the HTTP side of a server, as a process of its own. `cohort serve --engine-only` is the other one.
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "launcher/bootstrap/build_facts.h"
#include "launcher/bootstrap/log.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/gateway/gateway.h"
#include "runtime/config/config_loader.h"

namespace cohort {
namespace {

constexpr std::chrono::milliseconds kTick{50};  // between looks whether it has ended

Status run_gateway(const ConfigFlags& flags) {
  const Config config = flags.load();
  if (flags.print_config()) {
    fmt::print("{}", print_config(config));
    return flush_output();
  }
  if (config.model.path.empty()) throw UsageError("--model: expected the model directory of the engine");
  if (config.server.link.empty()) throw UsageError("--link: expected the socket of a `cohort serve --engine-only`");
  start_log(config.logging.level, "");
  COHORT_ASSIGN_OR_RETURN(const ModelConfig model, read_model_config(config.model.path));
  if (flags.dry_run()) return Gateway::check(config);

  std::mutex mutex;
  std::condition_variable changed;
  std::optional<std::string> failure;
  COHORT_ASSIGN_OR_RETURN(const auto gateway, Gateway::open({.config = config,
                                                             .generation = model.generation,
                                                             .spec = model.spec,
                                                             .version = build_version(),
                                                             .link_path = config.server.link,
                                                             .on_failure =
                                                                 [&](const std::string& reason) {
                                                                   {
                                                                     const std::lock_guard lock(mutex);
                                                                     failure = reason;
                                                                   }
                                                                   changed.notify_one();
                                                                 },
                                                             .patience_after_sigterm = std::nullopt}));
  std::unique_lock lock(mutex);
  while (!failure && !gateway->has_ended()) changed.wait_for(lock, kTick);
  return failure ? Status(StatusCode::kUnavailable, *failure) : ok_status();
}

}  // namespace

void add_gateway(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("gateway", "The HTTP side of `cohort serve --engine-only`");
  auto flags = std::make_shared<ConfigFlags>(command);
  command.callback([flags, &run] { run = [flags] { return run_gateway(*flags); }; });
}

}  // namespace cohort
