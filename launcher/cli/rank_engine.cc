#include "launcher/cli/rank_engine.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>

#include "launcher/bootstrap/build_facts.h"
#include "launcher/bootstrap/log.h"
#include "launcher/cli/command.h"
#include "runtime/config/config_loader.h"
#include "runtime/engine/shared_progress.h"
#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

LoadOptions load_options(const Job& job, const Config& config) {
  return {.dtype = dtype_from_name(config.model.dtype),  // nothing for "auto"
          .max_model_len = config.model.max_model_len,
          .random_weights = config.model.weights == "random",
          .random_seed = config.model.random_seed,
          .numerics = config.model.numerics == "deterministic" ? Numerics::kDeterministic : Numerics::kFast,
          .num_threads = job.num_threads(static_cast<int>(config.device.threads))};
}

LoadedModel load(Job& job, OpenModel model, const RankPlan& plan, bool quiet, const RankEngine::Observe& observe,
                 Stream& stream) {
  const Clock::time_point start = Clock::now();
  const int64_t num_elements = num_shard_elements(model.config.spec, model.map, plan.shard);
  // Random weights are made as they are kept.
  const DType counted_dtype = model.checkpoint ? model.config.spec.checkpoint_dtype : model.dtype;
  SharedProgress progress(
      job.world(), dtype_bytes(counted_dtype, num_elements), stderr_progress_options("loading weights", quiet),
      observe ? [&](double fraction) { observe("loading weights", fraction); } : std::function<void(double)>());
  LoadedModel loaded;
  job.agree([&]() -> Status {
    auto result = load_model(std::move(model), plan.shard, &progress.progress(), stream);
    progress.finish();
    if (!result.ok()) return result.status();
    loaded = *std::move(result);
    return ok_status();
  });
  spdlog::log(job.size() > 1 && !quiet ? spdlog::level::info : spdlog::level::debug,
              "stage {}, shard {}: read {:.3f} GB for {} parameters in {:.2f} s", plan.layout.stage(),
              plan.layout.shard(), static_cast<double>(loaded.num_bytes_read) / 1e9, num_elements,
              seconds_since(start));
  return loaded;
}

void prepare(ModelRunner& runner, bool shows_progress, const RankEngine::Observe& observe) {
  const Clock::time_point start = Clock::now();
  int64_t num_graphs = 0;
  runner.prepare([&](int64_t num_done, int64_t total) {
    num_graphs = total;
    if (observe) observe("making graphs", static_cast<double>(num_done) / static_cast<double>(total));
    if (!shows_progress || ::isatty(STDERR_FILENO) != 1) return;
    fmt::print(stderr, "\rmaking graphs: {} of {}{}", num_done, total, num_done < total ? "" : "\n");
  });
  if (num_graphs > 0) {
    spdlog::debug("{} graphs of decode steps in {:.2f} s, {:.3f} GB", num_graphs, seconds_since(start),
                  static_cast<double>(runner.num_graph_bytes()) / 1e9);
  }
}

JobOptions job_options(const Config& config) {
  return {.heartbeat_interval = std::chrono::milliseconds(config.health.heartbeat_interval_ms),
          .heartbeat_timeout = std::chrono::milliseconds(config.health.heartbeat_timeout_ms),
          .startup_timeout = std::chrono::seconds(config.health.startup_timeout_s)};
}

Result<Config> load_config(const ConfigFlags& flags) {
  try {
    return flags.load();
  } catch (const UsageError& error) {
    return invalid_argument(error.what());
  }
}

void check_config(const Config& config, std::string_view name) {
  if (config.model.path.empty()) throw UsageError("--model: expected a Hugging Face model directory");
  if (config.parallel.replicas > 1) {
    throw UsageError(fmt::format("--replicas: {} runs one replica; expected 1", name));
  }
}

}  // namespace

RankModel open_rank_model(Job& job, const Config& config) {
  job.check_same(canonical_config(config) + build_facts());
  RankModel opened;
  job.agree([&] {
    opened.layout = make_layout(job, config);
    return ok_status();
  });
  job.agree([&] {
    opened.device = job.choose_device(config.device.kind);
    return ok_status();
  });
  job.agree([&]() -> Status {
    COHORT_ASSIGN_OR_RETURN(opened.model, open_model(config.model.path, load_options(job, config)));
    return ok_status();
  });
  job.check_same(opened.model.fingerprint() + "device=" + (opened.device == kCpuDevice ? "cpu" : "cuda") + "\n");
  return opened;
}

RankEngine::RankEngine(Job& job, RankModel model, const RankPlan& plan, int num_threads, bool quiet,
                       const Observe& observe)
    : stream_(model.device, job.num_threads(num_threads)) {
  const Clock::time_point start = Clock::now();
  spdlog::debug("{} with {} threads, rank {} of {} on its host", to_string(stream_.device()), stream_.num_threads(),
                job.local_rank(), job.local_size());
  const std::string table = rank_table(job, plan);
  if (job.rank() == 0 && !quiet) spdlog::info("what each rank holds:\n{}", table.substr(0, table.size() - 1));
  const bool is_deterministic = model.model.numerics == Numerics::kDeterministic;
  loaded_ = load(job, std::move(model.model), plan, quiet, observe, stream_);
  start_up_.weights_s = seconds_since(start);
  comms_ = std::make_unique<RankComms>(RankComms::create(
      job.world(), plan.layout.sizes(), stream_.device(),
      {.recorder = job.recorder(), .deterministic = is_deterministic, .on_failure = job.on_failure()}));
  start_up_.communicators_s = seconds_since(start) - start_up_.weights_s;
  runner_ = std::make_unique<ModelRunner>(*loaded_.decoder, *comms_, plan.engine, stream_, job.monitor());
  prepare(*runner_, job.rank() == 0 && !quiet, observe);
  load_seconds_ = seconds_since(start);
  start_up_.graphs_s = load_seconds_ - start_up_.weights_s - start_up_.communicators_s;
}

RankEngine::~RankEngine() {
  runner_.reset();
  const std::shared_ptr<FlightRecorder> recorder = comms_->recorder;
  comms_.reset();
  recorder->clear();  // it names communicators that are no more
}

Status run_model_job(const ConfigFlags& flags, std::string_view name,
                     const std::function<Status(Job&, const Config&)>& body) {
  // Read before the ranks meet, since how they watch each other is part of it; what is wrong is said once they have.
  const Result<Config> config = load_config(flags);
  return run_job(config.ok() ? job_options(*config) : JobOptions(), [&](Job& job) -> Status {
    job.agree([&] {
      if (!config.ok()) throw UsageError(config.status().message());
      start_log(config->logging.level, job.size() > 1 ? job.rank_name(job.rank()) : "");
      if (!flags.print_config()) check_config(*config, name);
      return ok_status();
    });
    if (!flags.print_config()) return body(job, *config);
    if (job.rank() == 0) fmt::print("{}", print_config(*config));
    return flush_output();
  });
}

Status print_rank_table(Job& job, const RankPlan& plan) {
  const std::string table = rank_table(job, plan);
  if (job.rank() == 0) fmt::print("{}", table);
  return flush_output();
}

}  // namespace cohort
