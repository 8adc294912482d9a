// cohort generate: prompts in, text out, on the ranks that the launcher started or on this one process.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>

#include "launcher/bootstrap/build_facts.h"
#include "launcher/bootstrap/job.h"
#include "launcher/bootstrap/log.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/generate_output.h"
#include "launcher/cli/generate_requests.h"
#include "launcher/cli/rank_plan.h"
#include "runtime/config/config_loader.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "runtime/engine/shared_progress.h"
#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct GenerateOptions {
  RequestOptions requests;
  bool json = false;
  bool quiet = false;
};

struct Timings {
  double load_seconds = 0;
  double first_token_seconds = 0;  // from submission
  double last_token_seconds = 0;
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;
};

void print_timings(const Timings& t) {
  const double decode_seconds = t.last_token_seconds - t.first_token_seconds;
  fmt::print(stderr, "load {:.3f} s, TTFT {:.1f} ms, {} prompt + {} output tokens in {:.3f} s, {:.1f} tokens/s",
             t.load_seconds, t.first_token_seconds * 1e3, t.num_prompt_tokens, t.num_output_tokens,
             t.last_token_seconds, static_cast<double>(t.num_output_tokens) / t.last_token_seconds);
  if (decode_seconds > 0) {
    fmt::print(stderr, " ({:.1f} after the first)", static_cast<double>(t.num_output_tokens - 1) / decode_seconds);
  }
  fmt::print(stderr, "\n");
}

LoadOptions load_options(const Job& job, const Config& config) {
  return {.dtype = dtype_from_name(config.model.dtype),  // nothing for "auto"
          .random_weights = config.model.weights == "random",
          .random_seed = config.model.random_seed,
          .numerics = config.model.numerics == "deterministic" ? Numerics::kDeterministic : Numerics::kFast,
          .num_threads = job.num_threads(static_cast<int>(config.device.threads))};
}

LoadedModel load(Job& job, OpenModel model, const RankPlan& plan, bool quiet, Stream& stream) {
  const Clock::time_point start = Clock::now();
  const int64_t num_elements = num_shard_elements(model.config.spec, model.map, plan.shard);
  SharedProgress progress(job.world(), dtype_bytes(model.config.spec.checkpoint_dtype, num_elements),
                          stderr_progress_options("loading weights", quiet));
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

Status run_engine(Engine& engine, std::vector<GenerationRequest> requests, GenerateOutput& output, Timings& timings) {
  const Clock::time_point start = Clock::now();
  for (GenerationRequest& request : requests) {
    timings.num_prompt_tokens += static_cast<int64_t>(request.prompt.size());
    COHORT_ASSIGN_OR_RETURN([[maybe_unused]] const int64_t id, engine.submit(std::move(request)));
  }
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) {
      if (timings.num_output_tokens++ == 0) timings.first_token_seconds = seconds_since(start);
      COHORT_RETURN_IF_ERROR(output.add(event));
    }
  }
  timings.last_token_seconds = seconds_since(start);
  return output.finish();
}

// One rank's part of the command.
Status generate(Job& job, const Config& config, const GenerateOptions& options, bool dry_run) {
  const Clock::time_point start = Clock::now();
  job.check_same(canonical_config(config) + build_facts());
  Device device;
  ParallelLayout layout;
  OpenModel model;
  PromptRequests prompts;
  job.agree([&] {
    layout = make_layout(job, config);
    device = job.choose_device(config.device.kind);
    return ok_status();
  });
  job.agree([&]() -> Status {
    COHORT_ASSIGN_OR_RETURN(model, open_model(config.model.path, load_options(job, config)));
    const bool is_question = dry_run && !options.requests.has_prompts();  // how much would fit
    if (!layout.is_leader() || is_question) return ok_status();
    COHORT_ASSIGN_OR_RETURN(prompts, make_requests(options.requests, config.model.path, model.config));
    return ok_status();
  });
  job.check_same(model.fingerprint() + "device=" + (device == kCpuDevice ? "cpu" : "cuda") + "\n");
  const RankPlan plan = make_rank_plan(job, config, model, layout, device, prompts.requests);
  if (dry_run) {
    const std::string table = rank_table(job, plan);
    if (job.rank() == 0) fmt::print("{}", table);
    return flush_output();
  }

  Stream stream(device, job.num_threads(static_cast<int>(config.device.threads)));
  spdlog::debug("{} with {} threads, rank {} of {} on its host", to_string(stream.device()), stream.num_threads(),
                job.local_rank(), job.local_size());
  const LoadedModel loaded = load(job, std::move(model), plan, options.quiet, stream);
  const RankComms comms = RankComms::create(job.world(), layout.sizes(), stream.device(),
                                            {.recorder = job.recorder(), .on_failure = job.on_failure()});
  ModelRunner runner(*loaded.decoder, comms, plan.engine, stream, job.monitor());
  if (!layout.is_leader()) {
    follow(runner, comms);
    return ok_status();
  }
  Timings timings;
  timings.load_seconds = seconds_since(start);
  Engine engine(runner, comms);
  GenerateOutput output(prompts.requests, prompts.tokenizer.get(), options.json);
  COHORT_RETURN_IF_ERROR(run_engine(engine, prompts.requests, output, timings));
  if (!options.quiet) print_timings(timings);
  return ok_status();
}

JobOptions job_options(const Config& config) {
  return {.heartbeat_interval = std::chrono::milliseconds(config.health.heartbeat_interval_ms),
          .heartbeat_timeout = std::chrono::milliseconds(config.health.heartbeat_timeout_ms),
          .startup_timeout = std::chrono::seconds(config.health.startup_timeout_s)};
}

Status check_config(const Config& config) {
  if (config.model.path.empty()) throw UsageError("--model: expected a Hugging Face model directory");
  if (config.parallel.replicas > 1) throw UsageError("--replicas: generate runs one replica; expected 1");
  return ok_status();
}

Result<Config> load_config(const ConfigFlags& flags) {
  try {
    return flags.load();
  } catch (const UsageError& error) {
    return invalid_argument(error.what());
  }
}

Status run_generate(const ConfigFlags& flags, const GenerateOptions& options) {
  // Read before the ranks meet, since how they watch each other is part of it; what is wrong is said once they have.
  const Result<Config> config = load_config(flags);
  return run_job(config.ok() ? job_options(*config) : JobOptions(), [&](Job& job) -> Status {
    job.agree([&] {
      if (!config.ok()) throw UsageError(config.status().message());
      start_log(config->logging.level, job.size() > 1 ? job.rank_name(job.rank()) : "");
      return flags.print_config() ? ok_status() : check_config(*config);
    });
    if (!flags.print_config()) return generate(job, *config, options, flags.dry_run());
    if (job.rank() == 0) fmt::print("{}", print_config(*config));
    return flush_output();
  });
}

}  // namespace

void add_generate(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("generate", "Continue prompts with a model");
  auto options = std::make_shared<GenerateOptions>();
  add_request_flags(command, options->requests);
  command.add_flag("--json", options->json, "One JSON object a prompt and line, instead of text");
  command.add_flag("--quiet", options->quiet, "No progress and no timings on standard error");
  auto flags = std::make_shared<ConfigFlags>(command);
  command.callback([flags, options, &run] { run = [flags, options] { return run_generate(*flags, *options); }; });
}

}  // namespace cohort
