// cohort serve: a model behind the OpenAI API, on the ranks that the launcher started or on this one process.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <thread>

#include "launcher/bootstrap/build_facts.h"
#include "launcher/bootstrap/job.h"
#include "launcher/bootstrap/mpi_session.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/rank_engine.h"
#include "launcher/gateway/gateway.h"
#include "launcher/link/engine_server.h"

namespace cohort {
namespace {

constexpr std::chrono::milliseconds kTick{50};        // between looks whether the job is asked to end
constexpr std::chrono::milliseconds kLastWords{200};  // for a gateway to read why the engine ends

// An engine without a gateway of its own, by a signal; the second one ends it at once.
volatile std::sig_atomic_t is_asked_to_end = 0;

void ask_to_end(int) {
  if (is_asked_to_end != 0) _exit(kExitFailed);
  is_asked_to_end = 1;
}

// What the leader serves with.
struct FrontDoor {
  std::unique_ptr<LinkServer> link;
  std::unique_ptr<Gateway> gateway;  // null where that is another process
  std::jthread start_watch;          // until the engine is ready
};

// While the engine is made ready nobody looks whether the job has been asked to end: it then ends at once.
std::jthread watch_start(Job& job, const Gateway* gateway) {
  return std::jthread([&job, gateway](const std::stop_token& is_ready) {
    while (!is_ready.stop_requested()) {
      std::this_thread::sleep_for(kTick);
      if (is_asked_to_end != 0 || (gateway != nullptr && gateway->has_ended())) {
        job.on_failure()("asked to end before the engine was ready");
      }
    }
  });
}

void announce_failure(LinkServer& link, const std::string& reason) {
  wire::FromEngine message;
  message.mutable_failure()->set_reason(reason);
  link.announce(message);
  std::this_thread::sleep_for(kLastWords);
}

Status open_front_door(Job& job, const Config& config, const RankModel& model, bool engine_only, FrontDoor& door) {
  try {
    door.link = std::make_unique<LinkServer>(config.server.link);
  } catch (const std::runtime_error& error) {
    return Status(StatusCode::kUnavailable, error.what());
  }
  if (engine_only) {
    for (const int signal : {SIGTERM, SIGINT, SIGUSR2}) std::signal(signal, ask_to_end);
    job.set_last_words([&door](const std::string& reason) { announce_failure(*door.link, reason); });
    spdlog::info("waiting for gateways at {}", door.link->path());
    door.start_watch = watch_start(job, nullptr);
    return ok_status();
  }
  Gateway::Options options{.config = config,
                           .generation = model.model.config.generation,
                           .spec = model.model.config.spec,
                           .version = build_version(),
                           .link_path = door.link->path(),
                           .on_failure = job.on_failure(),
                           .patience_after_sigterm = launcher_patience()};
  COHORT_ASSIGN_OR_RETURN(door.gateway, Gateway::open(std::move(options)));
  job.set_last_words([&door](const std::string& reason) { door.gateway->fail(reason); });
  door.start_watch = watch_start(job, door.gateway.get());
  return ok_status();
}

void announce(LinkServer& link, const std::string& what, double fraction) {
  wire::FromEngine message;
  message.mutable_progress()->set_what(what);
  message.mutable_progress()->set_fraction(fraction);
  link.announce(message);
}

wire::Facts make_facts(const ModelRunner& runner) {
  const ModelSpec& spec = runner.decoder().spec();
  const EngineOptions& options = runner.options();
  wire::Facts facts;
  facts.set_vocab(spec.vocab);
  facts.set_max_position(spec.max_position);
  facts.set_block_size(options.block_size);
  facts.set_num_blocks(options.num_blocks);
  facts.set_max_seqs(options.max_seqs);
  facts.set_max_waiting(options.max_waiting);
  facts.set_has_source(spec.has_source());
  return facts;
}

// Whether an engine without a gateway of its own has drained, or has had the time to. Called between two steps.
class EngineDrain {
 public:
  explicit EngineDrain(std::chrono::seconds limit) : limit_(limit) {}

  bool has_ended(EngineServer& server, const Engine& engine) {
    if (is_asked_to_end == 0) return false;
    const Clock::time_point now = Clock::now();
    if (!end_) {
      spdlog::info("draining");
      server.refuse_new();
      end_ = now + limit_;
    }
    if (!engine.has_work()) return true;
    if (now < *end_) return false;
    spdlog::warn("draining took too long: what is under way is ended");
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;

  const std::chrono::seconds limit_;
  std::optional<Clock::time_point> end_;  // once it has begun
};

Status run_rank(Job& job, const Config& config, RankModel model, FrontDoor& door) {
  RankPlan plan = make_rank_plan(job, config, model.model, model.layout, model.device, {});
  plan.engine.max_waiting = config.scheduler.max_waiting;
  const auto observe = [&](const std::string& what, double fraction) {
    if (door.link) announce(*door.link, what, fraction);
  };
  RankEngine rank(job, std::move(model), plan, static_cast<int>(config.device.threads), /*quiet=*/false, observe);
  if (!rank.is_leader()) {
    follow(rank.runner(), rank.comms());
    return ok_status();
  }
  Engine engine(rank.runner(), rank.comms());
  spdlog::info("ready after {:.1f} s", rank.load_seconds());
  EngineServer server(engine, *door.link, make_facts(rank.runner()));
  door.start_watch = {};
  EngineDrain drain(std::chrono::seconds(config.server.drain_timeout_s));
  server.run([&] { return door.gateway ? door.gateway->has_ended() : drain.has_ended(server, engine); });
  return ok_status();
}

// One rank's part of the command.
Status serve(Job& job, const Config& config, bool engine_only, bool dry_run) {
  RankModel model = open_rank_model(job, config);
  if (dry_run) {
    return print_rank_table(job, make_rank_plan(job, config, model.model, model.layout, model.device, {}));
  }
  std::signal(SIGPIPE, SIG_IGN);  // a log that nobody reads any more is no reason to end
  FrontDoor door;
  // A launcher signals every rank. It is the leader that drains; the others go on until it lets them go, or is gone
  // itself.
  if (!model.layout.is_leader()) {
    for (const int signal : {SIGTERM, SIGINT, SIGUSR2}) std::signal(signal, SIG_IGN);
  }
  job.agree(
      [&] { return model.layout.is_leader() ? open_front_door(job, config, model, engine_only, door) : ok_status(); });
  try {
    const Status status = run_rank(job, config, std::move(model), door);
    job.set_last_words(nullptr);
    return status;
  } catch (const std::exception& error) {
    job.set_last_words(nullptr);
    if (door.gateway) {
      door.gateway->fail(error.what());
    } else if (door.link) {
      announce_failure(*door.link, error.what());
    }
    throw;
  }
}

}  // namespace

void add_serve(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("serve", "Serve a model over HTTP: OpenAI's API");
  auto engine_only = std::make_shared<bool>(false);
  command.add_flag("--engine-only", *engine_only, "No HTTP: `cohort gateway` connects to the socket of --link");
  auto flags = std::make_shared<ConfigFlags>(command);
  command.callback([flags, engine_only, &run] {
    run = [flags, engine_only] {
      return run_model_job(*flags, "serve", [&](Job& job, const Config& config) {
        if (*engine_only && config.server.link.empty()) throw UsageError("--link: expected a path, with --engine-only");
        return serve(job, config, *engine_only, flags->dry_run());
      });
    };
  });
}

}  // namespace cohort
