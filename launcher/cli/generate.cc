// cohort generate: prompts in, text out, on the ranks that the launcher started or on this one process.
#include <fmt/format.h>

#include <chrono>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/generate_output.h"
#include "launcher/cli/generate_requests.h"
#include "launcher/cli/rank_engine.h"
#include "runtime/engine/engine.h"

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
  RankModel model = open_rank_model(job, config);
  PromptRequests prompts;
  job.agree([&]() -> Status {
    if (model.model.config.spec.is_encoder()) {
      return invalid_argument(config.model.path + ": an encoder, which generates nothing; see `cohort encode`");
    }
    const bool is_question = dry_run && !options.requests.has_prompts();  // how much would fit
    if (!model.layout.is_leader() || is_question) return ok_status();
    COHORT_ASSIGN_OR_RETURN(prompts, make_requests(options.requests, config.model.path, model.model.config));
    return ok_status();
  });
  const RankPlan plan = make_rank_plan(job, config, model.model, model.layout, model.device, prompts.requests);
  if (dry_run) return print_rank_table(job, plan);

  RankEngine rank(job, std::move(model), plan, static_cast<int>(config.device.threads), options.quiet);
  if (!rank.is_leader()) {
    follow(rank.runner(), rank.comms());
    return ok_status();
  }
  Timings timings;
  timings.load_seconds = rank.load_seconds();
  Engine engine(rank.runner(), rank.comms());
  GenerateOutput output(prompts.requests, prompts.tokenizer.get(), options.json);
  COHORT_RETURN_IF_ERROR(run_engine(engine, prompts.requests, output, timings));
  if (!options.quiet) print_timings(timings);
  return ok_status();
}

}  // namespace

void add_generate(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("generate", "Continue prompts with a model");
  auto options = std::make_shared<GenerateOptions>();
  add_request_flags(command, options->requests);
  command.add_flag("--json", options->json, "One JSON object a prompt and line, instead of text");
  command.add_flag("--quiet", options->quiet, "No progress and no timings on standard error");
  auto flags = std::make_shared<ConfigFlags>(command);
  command.callback([flags, options, &run] {
    run = [flags, options] {
      return run_model_job(*flags, "generate", [&](Job& job, const Config& config) {
        return generate(job, config, *options, flags->dry_run());
      });
    };
  });
}

}  // namespace cohort
